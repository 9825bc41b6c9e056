"""Handles HTTP requests: authorizes them, reads their bodies, calls the handler, answers refusals."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.identity import Caller
from api.problems.refusals import refusal
from api.telemetry.metrics import REQUESTS
from api.web import body as reading
from api.web.access.admitted import Stream, while_admitted
from api.web.admission import AdmissionControl
from api.web.body import Bodies
from api.web.disconnects import while_connected
from api.web.operation import Operation
from api.web.reads.recorded import Recorder
from api.web.request import Request
from domain.errors import DomainError


class Endpoint:
    """All operations of one path: admits the request, reads the body, answers refusals."""

    def __init__(
        self, admission: AdmissionControl, bodies: Bodies, operations: Iterable[Operation]
    ) -> None:
        self._admission = admission
        self._recorder = Recorder(admission.access_log, admission.grants)
        self._bodies = bodies
        self._by_method = {operation.method: operation for operation in operations}
        if "GET" in self._by_method:
            self._by_method["HEAD"] = self._by_method["GET"]
        self._counts = {
            operation.method: REQUESTS.labels(operation.name) for operation in operations
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, receive)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - every error is answered
            response = refusal(error, scope)
        if isinstance(response, Stream):
            with self._admission.open_requests.of(scope["state"]["caller"], response.end_access):
                await response(scope, receive, send)
        else:
            await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        operation = self._by_method.get(scope["method"])
        if operation is None:
            raise MethodNotAllowed(", ".join(sorted(self._by_method)))
        self._counts[operation.method].inc()
        headers = scope["state"]["headers"]
        caller = await self._admission.admit(operation, scope, headers.get(b"authorization"))
        scope["state"]["caller"] = caller
        if operation.body is None:
            request = _request(operation, scope, caller)
            return await self._handle(operation, request, receive)
        limit = operation.body_limit
        size = reading.announced_size(headers, limit)
        if size <= reading.UNCOUNTED:
            body = await reading.read(headers, receive, limit)
            request = _request(operation, scope, caller, body)
            return await self._handle(operation, request, receive)
        with self._bodies.holding(size) as hold:
            body = await reading.read(headers, receive, limit)
            hold.shrink(len(body))
            request = _request(operation, scope, caller, body)
            return await self._handle(operation, request, receive)

    async def _handle(self, operation: Operation, request: Request, receive: Receive) -> ASGIApp:
        """The answer of the handler. An answer that shows executions is recorded in the access log first."""
        request.record = partial(self._record_page, operation)
        work = operation.handler(request)
        if operation.long:
            work = while_connected(receive, work)
        if operation.long or operation.method == "GET":  # a command is never cancelled
            work = while_admitted(self._admission.open_requests, request.caller, work)
        answer = await work
        if operation.shows_executions or request.shown:
            return await self._recorder.record(operation, request, answer)
        return answer

    async def _record_page(self, operation: Operation, request: Request) -> None:
        """Check that the caller may still see a page, and record it, before it is sent."""
        await self._admission.require_still(request.caller, request.scope)
        await self._recorder.page(operation, request)


def _request(operation: Operation, scope: Scope, caller: Caller, body: bytes = b"") -> Request:
    request = Request(scope, caller, body)
    if scope["query_string"] and not operation.fields:
        request.only(*(parameter.name for parameter in operation.parameters))
    return request


class MethodNotAllowed(DomainError):
    """This path does not accept this method."""

    code = "method-not-allowed"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This path accepts {allowed}.", allow=allowed)
