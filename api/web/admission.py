"""The door of HTTP: who may enter, with which body, and how a refusal looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.identity import NOBODY, Access, Caller
from api.access.rights import Right
from api.telemetry.metrics import REFUSALS, REQUESTS
from api.web import body as bodies
from api.web import problems
from api.web.ids import ID
from api.web.operation import Operation
from api.web.request import Call
from domain.errors import DomainError, NotFound

if TYPE_CHECKING:
    from api.app import System

log = structlog.get_logger()


class Endpoint:
    """All operations of one path: opens the door, reads the body, answers refusals."""

    def __init__(self, system: System, operations: Iterable[Operation]) -> None:
        self._system = system
        self._access: Access = system.access
        self._by_method = {operation.method: operation for operation in operations}
        if "GET" in self._by_method:
            self._by_method["HEAD"] = self._by_method["GET"]
        self._counts = {
            operation.method: REQUESTS.labels(operation.name) for operation in operations
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, receive)
        except DomainError as error:
            response = _refused(error, scope)
        except ValidationError as error:
            response = _refused(problems.invalid(error), scope)
        except ClientDisconnect:
            return
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            response = _refused(problems.Internal(), scope)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        operation = self._by_method.get(scope["method"])
        if operation is None:
            raise MethodNotAllowed(", ".join(sorted(self._by_method)))
        self._counts[operation.method].inc()
        headers = scope.setdefault("state", {})["headers"] = dict(scope["headers"])
        caller = self._admitted(operation, headers)
        identity = scope["path_params"].get("id")
        if identity is not None and not ID.fullmatch(identity):
            raise NotFound("There is nothing here: this cannot be an id.")
        if operation.body is None:
            return await operation.handler(self._call(operation, scope, caller, b""))
        limit = operation.body_limit
        size = bodies.announced(headers, limit)
        if size <= bodies.SMALL:
            body = await bodies.read(headers, receive, limit)
            return await operation.handler(self._call(operation, scope, caller, body))
        with self._system.bodies.holding(size) as hold:
            body = await bodies.read(headers, bodies.patient(receive), limit)
            hold.shrink(len(body))
            return await operation.handler(self._call(operation, scope, caller, body))

    def _call(self, operation: Operation, scope: Scope, caller: Caller, body: bytes) -> Call:
        call = Call(self._system, operation, scope, caller, body)
        if scope["query_string"] and not operation.fields:
            call.only(*(parameter.name for parameter in operation.parameters))
        return call

    def _admitted(self, operation: Operation, headers: Mapping[bytes, bytes]) -> Caller:
        if operation.right is Right.OPEN:
            return NOBODY
        caller = self._access.caller(headers.get(b"authorization"))
        if caller is NOBODY:
            raise problems.Unauthenticated
        caller.require(operation.right)
        return caller


def _refused(error: DomainError, scope: Scope) -> ASGIApp:
    REFUSALS.labels(error.code).inc()
    return problems.answer(error, scope["path"])


class MethodNotAllowed(DomainError):
    """This path does not take this method."""

    code = "method-not-allowed"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This path takes {allowed}.", allow=allowed)
