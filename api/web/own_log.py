"""Asks the log of this server among several, without a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message, Scope

from api.cells.connection import Answered, Query

HERE = ("127.0.0.1", 0)
"""Whom its access log has as the one who asks."""


class OwnLog:
    """Asks the application of this server as any client would, with the same rights and the same access log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def get(self, path: str, query: Query, headers: Mapping[str, str], most: int) -> Answered:
        """The answer to a question; however long it is, it is in memory already."""
        started: Message = {}
        content = bytearray()

        async def send(message: Message) -> None:
            started.update(message)
            content.extend(message.get("body", b""))

        await self._app(_scope(path, query, headers), _Body().receive, send)
        answered = {name.decode(): value.decode("latin-1") for name, value in started["headers"]}
        return Answered(started["status"], answered, bytes(content))

    def close(self) -> None:
        """Nothing is open."""


class _Body:
    """That of a GET request: none, and behind it a client who stays."""

    def __init__(self) -> None:
        self._taken = False

    async def receive(self) -> Message:
        if self._taken:
            await asyncio.Event().wait()
        self._taken = True
        return {"type": "http.request", "body": b"", "more_body": False}


def _scope(path: str, query: Query, headers: Mapping[str, str]) -> Scope:
    given = {"host": "localhost", **headers}
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
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        "client": HERE,
        "server": HERE,
        "state": {},
    }
