"""The server of the log behind an edge, which authorizes each stream. Without it an edge begins no streams."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Scope

from api.access.rights import Right
from api.cells.remote import Away, CellReply, RemoteLog
from api.problems.codes import PROBLEMS
from api.problems.problems import Unauthenticated
from api.web.streams import admission, event_stream
from api.web.streams.admission import Admission
from domain.errors import DomainError, Forbidden, Overloaded
from domain.supervisor import Background, Tasks

ASK_TIMEOUT = 5.0
POLL_INTERVAL = 2.0
"""Seconds between two looks whether it is there."""
ASKED = f"{event_stream.MEDIA_TYPE}, {admission.MEDIA_TYPE}"
PASSED_ON = (b"last-event-id", b"traceparent", b"x-correlation-id", b"x-purpose")
OF_EVERY_PROBLEM = frozenset({"type", "title", "status", "detail", "instance"})
AWAY = "The server of the log, which judges requests, cannot be asked. Come back a little later."
OTHER = "The server of the log serves another log than this edge streams. Come back a little later."


class OriginServer(Background):
    """Sends requests to the server at a URL, and checks every few seconds whether it answers."""

    outages = (Away,)

    def __init__(self, url: str, of_log: str) -> None:
        self.url = url.rstrip("/")
        self._of_log = of_log
        self._remote = RemoteLog(self.url, ASK_TIMEOUT)
        self.answers = False

    def tasks(self) -> Tasks:
        return {"origin": self._check_origin}

    async def stop(self) -> None:
        await super().stop()
        await self._remote.aclose()

    async def admission(self, scope: Scope, shown: bytes | None) -> Admission:
        """Have the server authorize a stream. `shown` is the header Authorization, or the subprotocol with a token.

        Raises:
            DomainError: the refusal of the server.
            Overloaded: the server does not answer.
        """
        query = scope["query_string"].decode("latin-1")
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        reply = await self._get(f"{path}?{query}" if query else path, headers_of(scope, shown))
        if reply.status != 200:
            raise refusal_of(reply)
        try:
            admitted = admission.read(reply.text)
        except ValueError as error:
            raise Overloaded(AWAY) from error
        if admitted.log != self._of_log:
            raise Overloaded(OTHER)
        return admitted

    async def require(self, right: Right, scope: Scope, shown: bytes | None) -> None:
        """Check a right of the caller. Raises Unauthenticated or Forbidden; Overloaded where the server does not answer."""
        if shown is None:
            raise Unauthenticated
        reply = await self._get("/api/me", headers_of(scope, shown))
        if reply.status != 200:
            raise refusal_of(reply)
        if right not in orjson.loads(reply.text).get("rights", ()):
            raise Forbidden(f"This needs the right `{right}`.")

    async def _get(self, path: str, headers: Mapping[str, str]) -> CellReply:
        try:
            return await self._remote.get(path, [], headers)
        except Away as error:
            raise Overloaded(AWAY) from error

    async def _check_origin(self) -> None:
        while True:
            try:
                reply = await self._remote.get("/api/healthz", [], {})
                self.answers = reply.status == 200
            except Away:
                self.answers = False
            await asyncio.sleep(POLL_INTERVAL)


def headers_of(scope: Scope, shown: bytes | None) -> dict[str, str]:
    """The headers of a request for the server. Cookies are left out, as they are of another host."""
    headers: Mapping[bytes, bytes] = scope["state"]["headers"]
    found = {
        name.decode(): headers[name].decode("latin-1") for name in PASSED_ON if name in headers
    }
    if shown is not None:
        found["authorization"] = shown.decode("latin-1")
    if (client := scope.get("client")) is not None:
        found["x-forwarded-for"] = client[0]
    return found | {"accept": ASKED}


def refusal_of(reply: CellReply) -> DomainError:
    """The refusal in a reply of the server. Raises Overloaded where its code is unknown here."""
    try:
        problem: dict[str, Any] = orjson.loads(reply.text)
        code = str(problem["type"]).rpartition("/")[2]
        error = DomainError(problem["detail"])
    except (ValueError, LookupError, TypeError):
        raise Overloaded(AWAY) from None
    if code not in PROBLEMS:
        raise Overloaded(AWAY)
    error.code = code
    error.members |= {name: problem[name] for name in problem if name not in OF_EVERY_PROBLEM}
    return error
