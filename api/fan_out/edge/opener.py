"""Opens streams at an edge that the server of the log has authorized, while the edge keeps up with the log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlencode

from starlette.types import Scope

from api.access.identity import Caller
from api.access.open_requests import ENDED, REVOKED, OpenRequests
from api.fan_out.edge.origin import OriginServer
from api.fan_out.edge.readiness import Readiness
from api.streaming.hub import Hub
from api.web.access.proxies import Proxies
from api.web.operation import Operation
from api.web.request import Request
from api.web.streams.admission import Admission
from api.web.streams.stream_request import (
    FULL,
    STREAM_OPERATIONS,
    StreamQuery,
    form_and_filter,
    speed,
    stream_of,
)
from domain.access.key import KeyRevoked
from domain.access.session import SessionEnded
from domain.errors import Overloaded
from domain.eventlog.codec import EventRow

JUDGED_FOR = 3_600.0
"""Seconds after which a stream is ended, so that its client reconnects and is authorized again."""
SPREAD = 0.2
"""The share of `JUDGED_FOR` by which streams end earlier at random, so that not all clients reconnect at once."""
SHOWN = "authorization"
ENDINGS = {KeyRevoked.type: REVOKED, SessionEnded.type: ENDED}
"""Events that end the requests of a credential, which has the name of their stream; and the reasons."""


class EdgeOpener:
    """A `StreamOpener` that has the server of the log authorize requests."""

    def __init__(
        self,
        hub: Hub,
        origin: OriginServer,
        readiness: Readiness,
        proxies: Proxies,
        open_requests: OpenRequests,
    ) -> None:
        self.hub = hub
        self.open_requests = open_requests
        self._origin = origin
        self._readiness = readiness
        self._proxies = proxies

    async def open(
        self, operation: Operation, scope: Scope, shown: bytes | None
    ) -> tuple[Request, StreamQuery]:
        scope["client"] = self._proxies.client(scope.get("client"), scope["state"]["headers"])
        self.require_room()
        admitted = await self._origin.admission(scope, shown)
        self.require_room()
        scope["state"][SHOWN] = shown
        request = Request(scope, admitted.caller)
        return request, _query(request, operation, admitted)

    def require_room(self) -> None:
        """Raises Overloaded where no stream can begin."""
        self._readiness.require()
        if self.hub.full:
            raise Overloaded(FULL)

    @asynccontextmanager
    async def while_granted(self, caller: Caller, end: Callable[[], object]) -> AsyncIterator[None]:
        after = JUDGED_FOR * (1 - SPREAD * random.random())  # noqa: S311 - need not be secure
        timer = asyncio.get_running_loop().call_later(after, end)
        try:
            yield
        finally:
            timer.cancel()

    async def sought(self, operation: Operation, request: Request, cursor: int) -> None:
        """Have the server authorize the stream again, after another cursor, and record that in its access log."""
        pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        query = urlencode([*(pair for pair in pairs if pair[0] != "from"), ("from", cursor)])
        state = request.scope["state"]
        headers = {
            name: value for name, value in state["headers"].items() if name != b"last-event-id"
        }
        scope = {
            **request.scope,
            "query_string": query.encode("latin-1"),
            "state": state | {"headers": headers},
        }
        await self._origin.admission(scope, state[SHOWN])

    async def record_end(self, operation: Operation, request: Request, cursor: int) -> None:
        """Do nothing, as the server has recorded only the beginning."""

    def note(self, rows: Sequence[EventRow]) -> None:
        """End the requests of credentials that these events of the log end."""
        for row in rows:
            if (reason := ENDINGS.get(row.type)) is not None:
                self.open_requests.end(row.stream, reason)


def _query(request: Request, operation: Operation, admitted: Admission) -> StreamQuery:
    kind = STREAM_OPERATIONS[operation.name]
    format_, wanted = form_and_filter(request, kind)
    return StreamQuery(
        format_,
        admitted.limits(wanted),
        admitted.cursor,
        admitted.head,
        stream_of(request, kind),
        admitted.known,
        over=admitted.over,
        speed=speed(request),
    )
