"""Made by scripts/sdk of the file of this name in `_async`: do not edit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic_core import from_json

from service_executions._sync.queries import Query
from service_executions._sync.streams import Lost, Stream, Streams
from service_executions._sync.transport import Transport
from service_executions.entries import Change
from service_executions.frames import Event, Frame
from service_executions.models import ExecutionLog, ServiceExecution
from service_executions.requests import read, segment
from service_executions.view import View

Start = str | int | datetime
'Where a stream begins: `"start"`, `"now"`, a position, or a time.'


class Reads(View):
    """An execution that can be read: its present and past documents, its history and its streams."""

    def __init__(
        self, transport: Transport, id: str, document: ServiceExecution | None = None
    ) -> None:
        super().__init__(id, document)
        self._transport = transport

    @property
    def _path(self) -> str:
        return f"/executions/{segment(self.id)}"

    def refresh(self) -> Self:
        """Read the present document of the execution."""
        answer = self._transport.send(read(self._path))
        self._document = ServiceExecution.model_validate_json(answer.content)
        return self

    def at(self, version: int | None = None, time: datetime | None = None) -> ServiceExecution:
        """Return the document as it was at a version or at a time."""
        answer = self._transport.send(read(self._path, {"version": version, "at": time}))
        return ServiceExecution.model_validate_json(answer.content)

    def logs(
        self,
        level: str | None = None,
        *,
        step: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        archived: bool | None = None,
        order: str | None = None,
    ) -> Query[ExecutionLog]:
        """Return the log lines of the execution in the order of their times."""
        request = read(
            f"{self._path}/logs",
            {
                "level": level,
                "step": step,
                "since": since,
                "until": until,
                "text": text,
                "archived": archived,
                "order": order,
            },
            follows=True,
        )
        return Query(self._transport, request, ExecutionLog.model_validate)

    def watch(
        self,
        types: str | Sequence[str] | None = None,
        *,
        start: Start | None = None,
        on_lost: Lost | None = None,
    ) -> Stream[Frame]:
        """Return a stream of what happens to the execution, from its first event or from `start`, until it has ended."""
        query = {"types": types, "from": start}
        return Streams(self._transport).watch(self.id, query, on_lost)

    def follow_logs(
        self,
        level: str | None = None,
        *,
        step: str | None = None,
        start: Start | None = None,
        on_lost: Lost | None = None,
    ) -> Stream[ExecutionLog]:
        """Return a stream of the log lines in the order of their recording, then as they arrive, until the execution has
        ended.
        """
        query = {"level": level, "step": step, "from": start}
        return Streams(self._transport).logs(self.id, query, on_lost)

    def events(
        self, types: str | Sequence[str] | None = None, *, order: str | None = None
    ) -> Query[Event]:
        """Return the events of the execution from the first one, or with `order="desc"` from the last one."""
        request = read(f"{self._path}/events", {"types": types, "order": order})
        return Query(self._transport, request, Event.model_validate)

    def diff(self, start: int, end: int) -> list[Change]:
        """Return the changes from one version to a later one, each with its cause."""
        path = f"{self._path}/diff"
        answer = self._transport.send(read(path, {"from": start, "to": end}))
        return [Change.model_validate(change) for change in from_json(answer.content)]

    def compare(self, other: str | View) -> dict[str, Any]:
        """Compare the execution with another one, step by step: the first divergence, and the differences of durations,
        costs and tokens.
        """
        query = {"with": other if isinstance(other, str) else other.id}
        answer = self._transport.send(read(f"{self._path}/compare", query))
        found: dict[str, Any] = from_json(answer.content)
        return found
