"""One command for many executions: the job, which goes through them page by page."""

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
"""Refusals that the state keeps: the first ones. All of them stand in the events."""
BulkCommand = Literal["start", "pause", "resume", "retry", "cancel"]
"""What anyone with the right to send commands may have sent to many."""
JobCommand = Literal["start", "pause", "resume", "retry", "cancel", "erase"]


class JobStatus(StrEnum):
    """Where a job stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Refusal(Value):
    """An execution, or an order, that did not take the command, and why: the code of the problem, its text, and
    the legal holds that keep it.
    """

    execution: str | None = None
    order: str | None = None
    code: str
    detail: str
    holds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job(Aggregate):
    """What is to be done, and how far it is. `cursor` is the page that comes next.

    `scope` is what its maker could send the command to when it was created, as a filter; None: everything.
    `matching` is how many executions met both filters then, and of an erasure how many orders. `done` counts
    commands that were taken, also those that changed nothing. `error` says why it failed.
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
        """Who created it, and alone may see it."""
        return self.created_by


class JobCreated(Event):
    """A command is to be sent to every execution that meets a filter."""

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
    """A page of executions, or of orders, got the command, in the same commit as this event. `erased` and
    `erased_orders` are those that an erasure erased.
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
    """Every execution that met the filter got the command."""

    type: ClassVar[str] = "job.completed"

    def apply(self, state: Job, recorded: Recorded) -> Job:
        return state.evolve(status=JobStatus.COMPLETED, updated_at=recorded.at)


class JobCancelled(Event):
    """The rest of the executions do not get the command."""

    type: ClassVar[str] = "job.cancelled"

    def apply(self, state: Job, recorded: Recorded) -> Job:
        return state.evolve(status=JobStatus.CANCELLED, updated_at=recorded.at)


class JobFailed(Event):
    """It cannot go on, and says why; what is done stays done."""

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
    """Stop a job; what is done stays done."""

    wire_name: ClassVar[str] = "cancelJob"

    def decide(self, job: Job, context: Context) -> Iterator[Event]:
        if job.status is JobStatus.RUNNING:
            yield JobCancelled()
        elif job.status is not JobStatus.CANCELLED:
            raise _refusal(job, "cancel")


class AdvanceJob(Command[Job]):
    """Note what became of a page, in the commit of its commands. Comes from the server alone.

    `after` is the cursor of the page, `cursor` that of the next one; None ends the job.
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
    """End a job that cannot go on. Comes from the server alone."""

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
