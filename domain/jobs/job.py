"""A job: one command for many executions, which a worker sends to them page by page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal

from domain.errors import IllegalTransition, VersionMismatch
from domain.model import Aggregate, Command, Context, Creation, Event, Recorded, Value, aggregate_id
from domain.sealing import Sealed
from domain.types import Text

SHOWN_REFUSALS = 100
"""Refusals in the state: the first so many. The events have all of them."""
BulkCommand = Literal["start", "pause", "resume", "retry", "cancel"]
"""The commands of jobs that every caller may create who may send the command itself."""
JobCommand = Literal["start", "pause", "resume", "retry", "cancel", "erase"]


class JobStatus(StrEnum):
    """The status of a job."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Refusal(Value):
    """An execution or an order that refused the command, with the code and the text of the problem, and the legal holds that
    prevent an erasure.
    """

    execution: str | None = None
    order: str | None = None
    code: str
    detail: str
    holds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job(Aggregate):
    """A job, and its progress.

    `cursor`: the cursor of the next page; `scope`: a filter of the executions to which its maker could send the command when
    the job was created, None for all; `matching`: the number of executions that met both filters then, and, of an erasure, of
    orders; `done`: the number of accepted commands, including those that changed nothing; `error`: why the job failed.
    """

    command: str
    filter: dict[str, Any]
    reason: Sealed[str] | None
    matching: int
    created_by: str
    created_at: datetime
    created_position: int
    updated_at: datetime
    status: JobStatus = JobStatus.RUNNING
    cursor: str | None = None
    done: int = 0
    refused: int = 0
    refusals: tuple[Refusal, ...] = ()
    error: str | None = None
    scope: dict[str, Any] | None = None

    @property
    def maker(self) -> str:
        """The actor that created the job. Only this actor may see it."""
        return self.created_by


class JobCreated(Event):
    """A job was created: a command will be sent to every execution that meets a filter."""

    type: ClassVar[str] = "job.created"
    command: JobCommand
    filter: dict[str, Any]
    reason: Sealed[str] | None = None
    matching: int
    scope: dict[str, Any] | None = None

    def apply(self, state: None, recorded: Recorded) -> Job:
        return Job(
            aggregate_id(recorded.stream),
            command=self.command,
            filter=self.filter,
            reason=self.reason,
            matching=self.matching,
            created_by=recorded.by,
            created_at=recorded.at,
            created_position=recorded.position,
            updated_at=recorded.at,
            scope=self.scope,
        )


class JobProgressed(Event):
    """The command was sent to a page of executions, or of orders, in the same commit as this event.

    `erased`, `erased_orders`: the executions and orders that an erasure has erased.
    """

    type: ClassVar[str] = "job.progressed"
    cursor: str | None = None
    done: int
    refused: tuple[Refusal, ...] = ()
    erased: tuple[str, ...] = ()
    erased_orders: tuple[str, ...] = ()

    def apply(self, state: Job, recorded: Recorded) -> Job:
        return state.evolve(
            cursor=self.cursor,
            done=state.done + self.done,
            refused=state.refused + len(self.refused),
            refusals=(*state.refusals, *self.refused)[:SHOWN_REFUSALS],
            updated_at=recorded.at,
        )


class JobCompleted(Event):
    """The job has sent the command to every execution that met the filter."""

    type: ClassVar[str] = "job.completed"

    def apply(self, state: Job, recorded: Recorded) -> Job:
        return state.evolve(status=JobStatus.COMPLETED, updated_at=recorded.at)


class JobCancelled(Event):
    """The job was cancelled: it sends the command to no further execution."""

    type: ClassVar[str] = "job.cancelled"

    def apply(self, state: Job, recorded: Recorded) -> Job:
        return state.evolve(status=JobStatus.CANCELLED, updated_at=recorded.at)


class JobFailed(Event):
    """The job failed, with an error. Executions that got the command are not affected."""

    type: ClassVar[str] = "job.failed"
    error: str

    def apply(self, state: Job, recorded: Recorded) -> Job:
        return state.evolve(status=JobStatus.FAILED, error=self.error, updated_at=recorded.at)


class CreateJob(Creation[Job]):
    """Send a command to every execution that meets a filter."""

    wire_name: ClassVar[str] = "createJob"

    command: JobCommand
    filter: dict[str, Any]
    reason: Text | None = None
    matching: int
    scope: dict[str, Any] | None = None

    def create(self, context: Context) -> Iterator[Event]:
        given: dict[str, Any] = {} if self.reason is None else {"reason": self.reason}
        given |= {} if self.scope is None else {"scope": self.scope}
        yield JobCreated(command=self.command, filter=self.filter, matching=self.matching, **given)


class CancelJob(Command[Job]):
    """Cancel a job. Executions that got the command are not affected."""

    wire_name: ClassVar[str] = "cancelJob"

    def decide(self, job: Job, context: Context) -> Iterator[Event]:
        if job.status is JobStatus.RUNNING:
            yield JobCancelled()
        elif job.status is not JobStatus.CANCELLED:
            raise _refusal(job, "cancel")


class AdvanceJob(Command[Job]):
    """Record the outcomes of a page, in the commit of its commands. Only the server sends this.

    `after`: the cursor of the page; `cursor`: the cursor of the next page; None completes the job.
    """

    wire_name: ClassVar[str] = "advanceJob"

    after: str | None
    cursor: str | None
    done: int
    refused: tuple[Refusal, ...]
    erased: tuple[str, ...] = ()
    erased_orders: tuple[str, ...] = ()

    def decide(self, job: Job, context: Context) -> Iterator[Event]:
        if job.status is not JobStatus.RUNNING:
            raise _refusal(job, "advance")
        if job.cursor != self.after:
            raise VersionMismatch
        given = {"erased": self.erased, "erased_orders": self.erased_orders}
        erased = {name: ids for name, ids in given.items() if ids}
        yield JobProgressed(cursor=self.cursor, done=self.done, refused=self.refused, **erased)
        if self.cursor is None:
            yield JobCompleted()


class FailJob(Command[Job]):
    """Record that a job failed. Only the server sends this."""

    wire_name: ClassVar[str] = "failJob"

    error: str

    def decide(self, job: Job, context: Context) -> Iterator[Event]:
        if job.status is JobStatus.RUNNING:
            yield JobFailed(error=self.error)


def _refusal(job: Job, command: str) -> IllegalTransition:
    allowed = ["cancel"] if job.status is JobStatus.RUNNING else []
    return IllegalTransition(
        f"`{command}` is not possible: the job is {job.status}.",
        status=job.status,
        allowedCommands=allowed,
    )


EVENTS: tuple[type[Event], ...] = (
    JobCreated,
    JobProgressed,
    JobCompleted,
    JobCancelled,
    JobFailed,
)
COMMANDS: dict[str, type[Command[Job]]] = {
    command.wire_name: command for command in (CreateJob, CancelJob)
}
