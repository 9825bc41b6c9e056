"""The fast path of small commands, which the protocol hands over without ASGI, a task or a router.

It calls the same functions as `endpoint`. A request takes the fast path only if it is a command with a small body of
known length and no query, of a caller whose token is cached; every other request goes through `Endpoint`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from starlette.responses import Response
from starlette.types import Scope

from api.access.identity import Caller
from api.access.rights import Right
from api.problems.refusals import refusal
from api.telemetry.metrics import REQUESTS
from api.web import headers as request_headers
from api.web.admission import AdmissionControl, admit
from api.web.body import UNCOUNTED, require_json
from api.web.operation import Operation, Prepare
from api.web.preferences import wants_receipt
from api.web.reads.recorded import Recorder
from api.web.request import Request
from domain.writer.command_bus import Answer, Bus

PARAMETERS = {2: "id", 4: "step"}
"""The parameters of a command's path, by the index of their segment."""
NOT_PLAIN = re.compile(rb"[?%#]|//|/$|[^!-~]")
"""Bytes that the path of a command on the fast path never has."""
UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"content-encoding"})
"""Headers with which a request does not take the fast path."""
Send = Callable[[Response], None]


class Row(NamedTuple):
    """One command: its operation, the function that prepares it, and the function that counts its requests."""

    operation: Operation
    prepare: Prepare
    counted: Callable[[], None]


class DirectCommands:
    """Finds the requests that take the fast path.

    Where pages of other origins may send requests (`foreign`), a request with an origin does not take it.
    """

    def __init__(
        self,
        admission: AdmissionControl,
        bus: Bus,
        operations: Iterable[Operation],
        prefix: str,
        *,
        foreign: bool = False,
    ) -> None:
        self._access = admission.access
        self._limits = admission.limits
        self._admission = admission
        self._recorder = Recorder(admission.access_log, admission.grants)
        self._bus = bus
        self._prefix = prefix
        self._unusual = UNUSUAL | {b"origin"} if foreign else UNUSUAL
        self._rows = {
            _shape(row.path.split("/")): Row(row, row.prepare, REQUESTS.labels(row.name).inc)
            for row in operations
            if row.prepare is not None
        }

    def find(
        self,
        method: bytes,
        url: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: tuple[str, int] | None = None,
    ) -> DirectCommand | None:
        """The command of a request's head; None where the request does not take the fast path.

        `client` is the address and port of the connection.
        """
        if method != b"POST" or NOT_PLAIN.search(url):
            return None
        path = url.decode("ascii")
        bare = path.removeprefix(self._prefix)
        parts = bare.split("/")
        row = self._rows.get(_shape(parts))
        if row is None:
            return None
        by_name = dict(headers)
        if len(by_name) < len(headers) or not self._is_small(by_name):
            return None
        caller = self._access.known_caller(by_name.get(b"authorization"))
        # `Endpoint` authenticates a caller that is not cached, and refuses one that sends too much.
        if caller is None or not self._limits.take(caller.name):
            return None
        parameters = {name: parts[at] for at, name in PARAMETERS.items() if at < len(parts)}
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "root_path": path[: len(path) - len(bare)],
            "client": self._admission.proxies.client(client, by_name),
            "path_params": parameters,
            "query_string": b"",
            "state": {"headers": by_name},
        }
        return DirectCommand(
            caller, self._bus, self._recorder, row, scope, admission=self._admission
        )

    def _is_small(self, headers: request_headers.Headers) -> bool:
        """Whether the headers announce a small body, and ask for nothing unusual."""
        if b"prefer" in headers and wants_receipt(headers[b"prefer"]):
            return False
        size = int(headers.get(b"content-length", b"0"))
        return b"host" in headers and size <= UNCOUNTED and self._unusual.isdisjoint(headers)


class DirectCommand:
    """One request on the fast path, from its body to its response. The writer calls `answer` or `refuse`."""

    __slots__ = (
        *("_admission", "_bus", "_caller", "_recorder", "_request", "_respond"),
        *("_row", "_scope", "_send", "_task"),
    )

    def __init__(
        self,
        caller: Caller,
        bus: Bus,
        recorder: Recorder,
        row: Row,
        scope: Scope,
        *,
        admission: AdmissionControl,
    ) -> None:
        self._caller = caller
        self._admission = admission
        self._bus = bus
        self._recorder = recorder
        self._row = row
        self._scope = scope

    def run(self, body: bytes, send: Send) -> None:
        """Execute the command; `send` is called once with the response, now or later."""
        self._send = send
        row, scope = self._row, self._scope
        headers: request_headers.Headers = scope["state"]["headers"]
        row.counted()
        try:
            admit(self._caller, row.operation.right, scope, self._admission.directory)
            if body:
                require_json(headers)
            request = self._request = Request(scope, self._caller, body)
            message, self._respond, waits = row.prepare(request)
            if waits or self._must_look_up_owner():
                self._task = asyncio.create_task(self._handle(request), name="command")
            else:
                self._bus.deliver(message, self)
        except Exception as error:  # noqa: BLE001 - every error is answered
            self.refuse(error)

    async def _handle(self, request: Request) -> None:
        """Answer a command that needs more than the writer, by the handler of its operation."""
        try:
            if self._must_look_up_owner():
                await self._admission.visibility.require(*self._access_to(request.path["id"]))
            response = await self._row.operation.handler(request)
            assert isinstance(response, Response)
        except Exception as error:  # noqa: BLE001 - every error is answered
            self.refuse(error)
        else:
            self._send_response(response)

    def answer(self, answer: Answer) -> None:
        """Send the response for the writer's answer."""
        try:
            if answer.created:
                self._admission.visibility.remember_created(
                    *self._access_to(answer.versioned.state.id)
                )
            response = self._respond(answer)
        except Exception as error:  # noqa: BLE001 - every error is answered
            self.refuse(error)
        else:
            self._send_response(response)

    def _must_look_up_owner(self) -> bool:
        """Whether the owner of the execution must be read before the command is sent to the writer."""
        path = self._request.path
        return "id" in path and self._admission.visibility.needs_look(*self._access_to(path["id"]))

    def _access_to(self, identity: str) -> tuple[Caller, Right, str]:
        return self._caller, self._row.operation.right, f"execution/{identity}"

    def _send_response(self, response: Response) -> None:
        """Send a response; one that shows an execution without an event is recorded in the access log first."""
        if self._request.shown:
            self._task = asyncio.create_task(self._record(response), name="command")
        else:
            self._send(response)

    async def _record(self, response: Response) -> None:
        try:
            await self._recorder.page(self._row.operation, self._request)
        except Exception as error:  # noqa: BLE001 - every error is answered
            self.refuse(error)
        else:
            self._send(response)

    def refuse(self, error: Exception) -> None:
        """Send the response for an error."""
        self._send(refusal(error, self._scope))


def _shape(parts: Sequence[str]) -> tuple[int | str, ...]:
    """The number of a path's segments, and the segments that are no parameters: every second one."""
    return (len(parts), *parts[1::2])
