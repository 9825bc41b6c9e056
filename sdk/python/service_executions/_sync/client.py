"""Made by scripts/sdk of the file of this name in `_async`: do not edit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack

import httpx2
from pydantic_core import from_json

from service_executions import address
from service_executions._sync.catalog import Catalog, Orders
from service_executions._sync.cells import Cells
from service_executions._sync.execution import Who
from service_executions._sync.executions import Executions
from service_executions._sync.queries import Query
from service_executions._sync.reads import Start
from service_executions._sync.recorder import BufferedRecorder, DirectRecorder, OnError, Recorder
from service_executions._sync.runtime import HttpClient, http_of_buffer, in_thread
from service_executions._sync.streams import Lost, Stream, Streams
from service_executions._sync.tracking import StepRecording, Tracking
from service_executions._sync.transport import LIMITS, Transport
from service_executions.creation import NewExecution, creation
from service_executions.cursors import Cursor, to_cursor
from service_executions.entries import Figures, Job, Service, User, Waiting, Workflow
from service_executions.frames import Event
from service_executions.ids import new_id
from service_executions.recording.buffer import Buffer
from service_executions.recording.sender import buffer
from service_executions.recording.step_declaration import StepDeclaration
from service_executions.requests import post, read, segment
from service_executions.retries import Retries
from service_executions.session import Session
from service_executions.values import wire

Consistency = Literal["session", "eventual"]


class Client:
    """A client of one service, with the rights of a token.

    Args:
        url: the address of the service; by default `EXECUTIONS_URL`, else the service on this machine.
        token: the token; by default `EXECUTIONS_TOKEN`, else for the service on this machine its administrator's.
        timeout: seconds to wait for an answer.
        max_retries: how often a request is sent again after a temporary failure; 0 for never.
        consistency: with `"session"`, lists and figures include all that this client has written or seen.
        worker: the name of the worker that sends the commands; they are refused if its lease was lost.
        purpose: the purpose for which an auditor reads; it is recorded with each read.
        spool: the folder in which recorded commands wait while the service is unavailable; by default one of the user's.
        data_dir: the data directory of the service on this machine, if it is not the default one.
        http_client: an `httpx2` client of your own, which this client does not close.

    Raises:
        SetupError: the address or the token is invalid.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        max_retries: int = 4,
        consistency: Consistency = "session",
        worker: str | None = None,
        purpose: str | None = None,
        spool: str | None = None,
        data_dir: str | Path | None = None,
        http_client: HttpClient | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "timeout": timeout,
            "max_retries": max_retries,
            "consistency": consistency,
            "worker": worker,
            "purpose": purpose,
            "spool": spool,
        }
        self._address = address.find(url, token, data_dir)
        self._http = http_client or HttpClient(limits=LIMITS)
        self._owns_http = http_client is None
        self._is_root = True
        self._session = Session()
        self._buffers: list[Buffer] = []
        self._make_parts()

    def _make_parts(self) -> None:
        headers = {"X-Worker": self._options["worker"], "X-Purpose": self._options["purpose"]}
        self._headers = {name: value for name, value in headers.items() if value}
        self.transport = transport = Transport(
            self._address,
            self._http,
            self._session,
            Retries(self._options["max_retries"]),
            timeout=self._options["timeout"],
            consistent=self._options["consistency"] == "session",
            headers=self._headers,
        )
        self.executions = Executions(transport)
        self.users = Catalog(transport, "/users", User)
        self.services = Catalog(transport, "/services", Service)
        self.workflows = Catalog(transport, "/workflows", Workflow)
        self.orders = Orders(transport)
        self.analytics = Analytics(transport)
        self.cells = Cells(transport)

    @property
    def url(self) -> str:
        """The address of the service."""
        return self._address.url

    def with_options(
        self,
        *,
        timeout: float | None = None,
        max_retries: int | None = None,
        consistency: Consistency | None = None,
        worker: str | None = None,
        purpose: str | None = None,
    ) -> Self:
        """Return a client with some options changed, which shares the connections and the session of this one."""
        changes = {
            "timeout": timeout,
            "max_retries": max_retries,
            "consistency": consistency,
            "worker": worker,
            "purpose": purpose,
        }
        other = copy(self)
        other._options = {
            **self._options,
            **{name: value for name, value in changes.items() if value is not None},
        }
        other._owns_http = other._is_root = False
        other._make_parts()
        return other

    def track(
        self,
        *,
        order: Any,
        service: Any,
        id: str | None = None,
        on_error: OnError = "raise",
        **members: Unpack[NewExecution],
    ) -> Tracking:
        """Record work while it is done: use it as a `with` block around the work, or as a decorator of a function.

        The execution is created and started at the beginning. An exception fails it, and is raised again; a cancellation,
        Ctrl-C and SIGTERM cancel it. With `on_error="buffer"`, no failure of the recording disturbs the work: a thread
        sends the recorded commands with their times, and stores them in files while the service is unavailable.
        """
        body = creation(id or "", order, service, members)
        del body["$id"]
        return Tracking(self._recorder(on_error), id, body)

    def step(
        self,
        id: str,
        name: str | None = None,
        *,
        assignee: Who | None = None,
        input: Any = None,
        kind: str | None = None,
        capture: bool = False,
    ) -> StepRecording:
        """Return a step of the run inside which it begins. Outside of a run, nothing is recorded."""
        declared = StepDeclaration(id, name, assignee, kind, None)
        return StepRecording(declared, input=input, capture=capture, run=None)

    def _recorder(self, on_error: OnError) -> Recorder:
        if on_error == "raise":
            return DirectRecorder(self.transport)
        return BufferedRecorder(self.buffer)

    def _connection_of_buffer(self) -> tuple[httpx2.Client, bool]:
        return http_of_buffer(self._http)

    @property
    def buffer(self) -> Buffer:
        """The commands recorded with `on_error="buffer"` that are not sent yet; `buffer.refused` has those that the service
        refused.
        """
        if not self._buffers:
            http, own = self._connection_of_buffer()
            spool: str | None = self._options["spool"]
            self._buffers.append(
                buffer(self._address, http, self._session, spool, self._headers, closes=own)
            )
        return self._buffers[0]

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all buffered commands are sent, for at most `timeout` seconds; return whether they are."""
        return in_thread(self.buffer.flush, timeout)

    def send(self, commands: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Send up to 1 000 commands in one request (`POST /commands`). Return an outcome for each, in order, with a `status`
        of its own: a refusal does not stop the others.
        """
        request = post("/commands", wire(list(commands)), {"Idempotency-Key": new_id("key")})
        outcomes: list[dict[str, Any]] = from_json(self.transport.send(request).content)
        return outcomes

    def listen(
        self,
        types: str | Sequence[str] | None = None,
        *,
        start: Start | None = None,
        cursor: Cursor | str | None = None,
        on_lost: Lost | None = None,
        **filters: Any,
    ) -> Stream[Event]:
        """Return a stream of the events of the whole log, from now on, or from `start` (`"start"`, a position, a time).

        With a `cursor`, a path or an object, the next process continues where this one ended: each event is handled at
        least once. Filters are `service`, `order`, `customer`, `provider`, `tag` and `status`.
        """
        query = {"types": types, "from": start, **filters}
        return Streams(self.transport).listen(query, to_cursor(cursor), on_lost)

    def inbox(self, assignee: str | None = None) -> Query[Waiting]:
        """Return the steps and executions that wait for a person, or for any person, the most urgent first."""
        request = read("/inbox", {"assignee": assignee}, follows=True)
        return Query(self.transport, request, Waiting.model_validate)

    def job(self, id: str) -> Job:
        """Return a job with its progress."""
        answer = self.transport.send(read(f"/jobs/{segment(id)}"))
        return Job.model_validate_json(answer.content)

    def close(self) -> None:
        """Send the buffered commands, and close the connections."""
        if self._is_root:
            for each in self._buffers:
                in_thread(each.close)
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Analytics:
    """The figures of the service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def executions(self, *, by: str | Sequence[str] | None = None, **filters: Any) -> Figures:
        """Return counts, rates, durations and costs of executions, in total and grouped by up to two keys.

        Filters are `service`, `order`, `customer`, `provider` and `status`, and the time of creation: `from_` (inclusive)
        and `to` (exclusive).
        """
        given = {name.rstrip("_"): value for name, value in filters.items()}
        request = read("/analytics/executions", {**given, "by": by}, follows=True)
        return Figures.model_validate_json(self._transport.send(request).content)
