"""An operation is one row: method, path, right, models, handler. Routing, checks and the OpenAPI
document all follow from the rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from random import getrandbits
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

import structlog
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api import bodies, problems
from api.access import NOBODY, Access, Caller, Right
from api.bodies import MIB
from api.metrics import REFUSALS, REQUESTS
from api.paths import SEGMENT
from api.schemas import ID
from domain.batch import IdempotencyKey, Message
from domain.errors import DomainError, Invalid, NotFound
from domain.kernel import Command

if TYPE_CHECKING:
    from api.main import System

LABEL = re.compile(r"[!-~]{1,128}")
ENTITY_TAG = re.compile(r'(?:W/)?"(\d{1,18})(?:-ld)?"')
TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

log = structlog.get_logger()


Handler = Callable[["Call"], Awaitable[ASGIApp]]


class Parameter(NamedTuple):
    """A query parameter, as the OpenAPI document shows it."""

    name: str
    description: str
    schema: Mapping[str, Any] = {"type": "string"}
    required: bool = False


class Operation(NamedTuple):
    """What one method of one path does. `body` and `answer` are pydantic models or JSON schemas.

    `body_forms` and `answer_forms` are schemas of other media types; `others` are statuses that
    answer without content, and what they mean; `sends` are headers of a good answer. Query parameters
    other than `parameters` are refused, unless they are `fields` to filter by, which the handler reads.
    """

    name: str
    method: str
    path: str
    right: Right
    summary: str
    handler: Handler
    body: Any = None
    answer: Any = None
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()
    body_limit: int = MIB
    media_type: str = "application/json"
    body_forms: Mapping[str, Any] = {}
    answer_forms: Mapping[str, Any] = {}
    others: Mapping[int, str] = {}
    fields: bool = False
    sends: tuple[str, ...] = ()


class Call:
    """One request that has passed the door: who asks for what, with which words."""

    def __init__(
        self, system: System, operation: Operation, scope: Scope, caller: Caller, body: bytes
    ) -> None:
        self.system = system
        self.operation = operation
        self.caller = caller
        self.body = body
        self.path: dict[str, str] = scope["path_params"]
        self.url: str = scope["path"]
        self._bare_url = self.url.removeprefix(scope.get("root_path", ""))
        self.headers: dict[bytes, bytes] = scope["state"]["headers"]
        self._query = scope["query_string"]

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        """The query parameters, in order, repeated ones repeated."""
        try:
            found = parse_qsl(
                self._query.decode(), keep_blank_values=True, errors="strict", max_num_fields=1000
            )
        except ValueError as error:
            raise Invalid.field("query", "cannot be decoded as UTF-8 form fields") from error
        for name, value in found:
            if "\0" in name or "\0" in value:
                raise Invalid.field(name, "has a NUL, which no text here can have")
        return found

    def header(self, name: str) -> str | None:
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def parameter(self, name: str) -> str | None:
        """A query parameter that may come once."""
        found = [value for key, value in self.query if key == name] if self._query else []
        if len(found) > 1:
            raise Invalid.field(name, "may be given once")
        return found[0] if found else None

    def whole(self, name: str, at_least: int, at_most: int) -> int | None:
        """A query parameter that is a whole number within bounds."""
        text = self.parameter(name)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,19}", text) or not at_least <= int(text) <= at_most:
            raise Invalid.field(name, f"must be a whole number from {at_least} to {at_most}")
        return int(text)

    def only(self, *names: str) -> None:
        """Refuse all other query parameters: a misspelt filter is no filter."""
        for name, _ in self.query if self._query else ():
            if name not in names:
                known = ", ".join(names) or "none"
                raise Invalid.field(name, f"is not a parameter of this operation (known: {known})")

    @property
    def if_match(self) -> tuple[int, ...] | None:
        """The versions in If-Match, of which one must be there; None without any, or for `*`."""
        text = self.header("if-match")
        if text is None or text.strip() == "*":
            return None
        tags = [ENTITY_TAG.fullmatch(item.strip()) for item in text.split(",")]
        versions = tuple(int(tag[1]) for tag in tags if tag is not None)
        if len(versions) < len(tags):
            raise Invalid.field("If-Match", 'must be versions in quotes, like "7" or "7", "8"')
        return versions

    def message(
        self,
        stream: str,
        command: Command[Any],
        part: str = "",
        if_match: int | None = None,
    ) -> Message:
        """The command as the bus takes it; `part` tells apart the commands of one request."""
        headers = self.headers
        versions: tuple[int, ...] | None = None if if_match is None else (if_match,)
        if b"if-match" in headers:
            versions = self.if_match
        return Message(
            stream,
            command,
            self.caller.name,
            self.correlation,
            self._label("x-causation-id") if b"x-causation-id" in headers else None,
            versions,
            Right.IMPORT in self.caller.rights,
            self.idempotency(part) if b"idempotency-key" in headers else None,
        )

    @cached_property
    def correlation(self) -> str:
        """What all events of this request have in common: the client's word, or one made here."""
        if b"x-correlation-id" in self.headers:
            return self._label("x-correlation-id")
        if (trace := self.header("traceparent")) and (parsed := TRACE_PARENT.fullmatch(trace)):
            return parsed[1]
        return f"{getrandbits(64):016x}"

    def idempotency(self, part: str = "") -> IdempotencyKey:
        """The key in Idempotency-Key, for this caller and this very request."""
        key = f"{self.caller.name}:{self._label('idempotency-key')}{part}"
        request = f"{self.operation.method} {self._bare_url}\n".encode() + self.body
        return IdempotencyKey(key, hashlib.sha256(request).hexdigest())

    def _label(self, name: str) -> str:
        value = (self.header(name) or "").strip()
        if not LABEL.fullmatch(value):
            words = "must be 1 to 128 printable ASCII characters without spaces"
            raise Invalid.field(name.title(), words)
        return value


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


def routes(system: System, operations: Iterable[Operation]) -> list[BaseRoute]:
    """One route a path, in the order of the rows."""
    paths: dict[str, list[Operation]] = {}
    for operation in operations:
        # Ids need no decoding; a step may be called anything.
        path = operation.path.replace("{step}", f"{{step:{SEGMENT}}}")
        paths.setdefault(path, []).append(operation)
    return [Route(path, Endpoint(system, rows)) for path, rows in paths.items()]
