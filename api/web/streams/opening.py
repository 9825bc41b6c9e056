"""Authorizes streams over WebSocket, when they are opened and while they last."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from starlette.types import Scope

from api.access.identity import Caller
from api.access.open_requests import OpenRequests
from api.streaming.hub import Hub
from api.web.admission import AdmissionControl
from api.web.operation import Operation
from api.web.reads.recorded import Recorder
from api.web.request import Request
from api.web.streams.narrowing import end_with_grants
from api.web.streams.stream_request import STREAM_OPERATIONS, StreamQuery, StreamRequests


class StreamOpener(Protocol):
    """Authenticates and authorizes the requests of streams. Every method raises a `DomainError` where it refuses."""

    hub: Hub
    open_requests: OpenRequests

    async def open(
        self, operation: Operation, scope: Scope, shown: bytes | None
    ) -> tuple[Request, StreamQuery]:
        """Authorize a request, and return its stream. `shown` is the header Authorization, or the subprotocol with a
        token.
        """
        ...

    def while_granted(
        self, caller: Caller, end: Callable[[], object]
    ) -> AbstractAsyncContextManager[None]:
        """While the block lasts, call `end` once the caller may see less than when the stream was opened."""
        ...

    async def sought(self, operation: Operation, request: Request, cursor: int) -> None:
        """Allow a stream to continue after another cursor, and record that."""

    async def record_end(self, operation: Operation, request: Request, cursor: int) -> None:
        """Record that a stream has ended at a cursor."""


class LocalOpener:
    """Lets streams begin that this server sends itself."""

    def __init__(self, admission: AdmissionControl, requests: StreamRequests) -> None:
        self.hub = requests.hub
        self.open_requests = admission.open_requests
        self._admission = admission
        self._requests = requests
        self._recorder = Recorder(admission.access_log, admission.grants)

    async def open(
        self, operation: Operation, scope: Scope, shown: bytes | None
    ) -> tuple[Request, StreamQuery]:
        request = Request(scope, await self._admission.admit(operation, scope, shown))
        asked = await self._requests.admit(request, STREAM_OPERATIONS[operation.name])
        await self._recorder.record_opening(operation, request, asked.cursor)
        self._requests.require_room()
        return request, asked

    def while_granted(
        self, caller: Caller, end: Callable[[], object]
    ) -> AbstractAsyncContextManager[None]:
        return end_with_grants(self._admission.grants, caller, end)

    async def sought(self, operation: Operation, request: Request, cursor: int) -> None:
        await self._recorder.sought(operation, request, cursor)

    async def record_end(self, operation: Operation, request: Request, cursor: int) -> None:
        await self._recorder.record_end(operation, request, cursor)
