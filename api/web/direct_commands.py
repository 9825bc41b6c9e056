"""Commands that the protocol hands over as they came, answered without ASGI, a task or a router.

What is done is what `endpoint` does, by the same functions; only the way is shorter. Whatever is not
plainly a small command, with a body of a known length and no query, of a caller whose token was verified
before, goes the other way.
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
from api.telemetry.metrics import REQUESTS
from api.web import headers as request_headers
from api.web.admission import AdmissionControl, admit, refusal
from api.web.body import UNCOUNTED, require_json
from api.web.operation import Operation, Prepare
from api.web.preferences import wants_receipt
from api.web.reads.recorded import Recorder
from api.web.request import Request
from domain.writer.command_bus import Answer, Bus

PARAMETERS = {2: "id", 4: "step"}
"""The places of a path in which parameters stand."""
NOT_PLAIN = re.compile(rb"[?%#]|//|/$|[^!-~]")
"""What never occurs in the plain path of a command."""
UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"content-encoding"})
Send = Callable[[Response], None]


class Row(NamedTuple):
    """One command: its operation, what prepares it, and what counts its requests."""

    operation: Operation
    prepare: Prepare
    counted: Callable[[], None]


class DirectCommands:
    """Finds the commands among requests, and answers them; where pages of `foreign` origins may send some, those
    with an origin take the usual way.
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
        """The command that a head announces; None where it takes the usual way. `client` is where it comes from."""
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
        # Where it is unknown, or sends too much, the usual way finds out, or refuses.
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
        """Whether the body and the answer of a request are of the plain kind."""
        if b"prefer" in headers and wants_receipt(headers[b"prefer"]):
            return False
        size = int(headers.get(b"content-length", b"0"))
        return b"host" in headers and size <= UNCOUNTED and self._unusual.isdisjoint(headers)


class DirectCommand:
    """One request, from the whole body to the response. It receives the answer of the writer."""

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
        """Carry the command out; `send` is called once with the response, now or later."""
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
            if waits or self._must_look():
                self._task = asyncio.create_task(self._handle(request), name="command")
            else:
                self._bus.deliver(message, self)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
            self.refuse(error)

    async def _handle(self, request: Request) -> None:
        """What needs more than the writer, as the usual way does it."""
        try:
            if self._must_look():
                await self._admission.visibility.require(*self._what_is_wanted(request.path["id"]))
            response = await self._row.operation.handler(request)
            assert isinstance(response, Response)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
            self.refuse(error)
        else:
            self._show(response)

    def answer(self, answer: Answer) -> None:
        """Respond with what the command led to."""
        try:
            if answer.created:
                self._admission.visibility.remember_created(
                    *self._what_is_wanted(answer.versioned.state.id)
                )
            response = self._respond(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
            self.refuse(error)
        else:
            self._show(response)

    def _must_look(self) -> bool:
        """Whether it is to be looked at whose execution it is, before the writer is asked."""
        path = self._request.path
        return "id" in path and self._admission.visibility.needs_look(
            *self._what_is_wanted(path["id"])
        )

    def _what_is_wanted(self, identity: str) -> tuple[Caller, Right, str]:
        return self._caller, self._row.operation.right, f"execution/{identity}"

    def _show(self, response: Response) -> None:
        """Send it; where it shows what was not changed, once that is recorded."""
        if self._request.shown:
            self._task = asyncio.create_task(self._record(response), name="command")
        else:
            self._send(response)

    async def _record(self, response: Response) -> None:
        try:
            await self._recorder.page(self._row.operation, self._request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
            self.refuse(error)
        else:
            self._send(response)

    def refuse(self, error: Exception) -> None:
        """Respond with what went wrong."""
        self._send(refusal(error, self._scope))


def _shape(parts: Sequence[str]) -> tuple[int | str, ...]:
    """A path without its parameters, which stand in every second place."""
    return (len(parts), *parts[1::2])
