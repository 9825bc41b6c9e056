"""Sends requests to this server's own application without a connection, for reads of several logs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message, Scope

from api.cells.connection import Answered, Query

HERE = ("127.0.0.1", 0)
"""The client address of such requests in the access log."""


class OwnLog:
    """Sends requests to the application of this server, with the rights and the access log of any other client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def get(self, path: str, query: Query, headers: Mapping[str, str], most: int) -> Answered:
        """Send a GET request and return the answer. `most` is not checked: the answer is in memory already."""
        # Requests to other logs are sent first, so that they work at the same time.
        await asyncio.sleep(0)
        started: Message = {}
        content = bytearray()

        async def send(message: Message) -> None:
            started.update(message)
            content.extend(message.get("body", b""))

        await self._app(_scope(path, query, headers), _Body().receive, send)
        headers_of_answer = {
            name.decode(): value.decode("latin-1") for name, value in started["headers"]
        }
        return Answered(started["status"], headers_of_answer, bytes(content))

    def close(self) -> None:
        """Do nothing, as there is no connection."""


class _Body:
    """The empty body of a GET request, of a client that never disconnects."""

    def __init__(self) -> None:
        self._received = False

    async def receive(self) -> Message:
        if self._received:
            await asyncio.Event().wait()
        self._received = True
        return {"type": "http.request", "body": b"", "more_body": False}


def _scope(path: str, query: Query, headers: Mapping[str, str]) -> Scope:
    sent_headers = {"host": "localhost", **headers}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": urlencode(query).encode(),
        "headers": [
            (name.encode(), value.encode("latin-1")) for name, value in sent_headers.items()
        ],
        "client": HERE,
        "server": HERE,
        "state": {},
    }
