"""The state of an execution, and the checks of its commands against its status."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Self

from domain.errors import IllegalTransition, LeaseLost, NotFound
from domain.execution.parts import (
    NO_TIME,
    NOTHING,
    Attempt,
    Cancellation,
    Checkpoint,
    Claim,
    Erasure,
    Pause,
    Step,
    Totals,
)
from domain.execution.retry_policy import RetryPolicy
from domain.execution.transitions import STEP_TRANSITIONS, allowed_commands, allows, move
from domain.execution.types import (
    DEFAULT_TIMEOUT,
    ExecutionError,
    ExecutionResult,
    ForkedFrom,
    OnLeaseLost,
    Status,
    StepStatus,
)
from domain.execution.webhook import Webhook
from domain.model import Aggregate, Recorded
from domain.sealing import Sealed
from domain.types import Assignee, Percent, Priority

OPEN = frozenset({StepStatus.PENDING, StepStatus.RUNNING})
DONE = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})
CHECKPOINT_EVERY = timedelta(minutes=15)
"""The running time after which a checkpoint is saved automatically."""
CHECKPOINT_LATE = timedelta(days=1)
"""The delay after which an automatic checkpoint is not saved any more: the execution was imported, or is abandoned."""
WORKING = frozenset({Status.STARTING, Status.RUNNING})
FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


def checkpoint_due(active_since: datetime, last: datetime | None) -> datetime:
    """When an automatic checkpoint of a running execution is due, by the time of its last checkpoint."""
    return max(active_since, last or active_since) + CHECKPOINT_EVERY


@dataclass(frozen=True)
class Execution(Aggregate):
    """The state of one execution.

    `updated_at`: the latest time at which an event occurred; `since`: when the present status began; `explicit_progress`: the
    reported progress; `active`: the working time up to `active_since`, which is set while it works; `active_before_start`: the
    part of it before `started_at`; `claim`: set while a worker holds the execution; `seen_at`: when the last event that is a
    sign of life was recorded. Sealed fields hold plain values in the writer, and `Ciphertext` in views.
    """

    order: str
    service: str
    workflow: str | None
    customer: str
    provider: str
    created_at: datetime
    updated_at: datetime
    since: datetime
    status: Status = Status.QUEUED
    explicit_progress: Percent | None = None
    assignee: Assignee | None = None
    result: Sealed[ExecutionResult] | None = None
    success: bool | None = None
    error: ExecutionError | None = None
    cancellation: Cancellation | None = None
    pause: Pause | None = None
    resumed_from: str | None = None
    forked_from: ForkedFrom | None = None
    steps: dict[str, Step] = field(default_factory=dict)
    planned_steps: int = 0
    checkpoints: tuple[Checkpoint, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    retries: int = 0
    next_retry_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    active: timedelta = NO_TIME
    active_since: datetime | None = None
    active_before_start: timedelta = NO_TIME
    used: Totals = NOTHING
    claim: Claim | None = None
    seen_at: datetime | None = None
    stalled: bool = False
    heartbeat_timeout: timedelta | None = None
    on_lease_lost: OnLeaseLost = "restart"
    priority: Priority = Priority.NORMAL
    timeout: timedelta | None = DEFAULT_TIMEOUT
    retry_policy: RetryPolicy | None = None
    webhooks: tuple[Webhook, ...] = ()
    erasure: Erasure | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """The customer and the provider, copied at creation."""
        return self.customer, self.provider

    @property
    def weight(self) -> int:
        """1, and 1 for each step, checkpoint and attempt."""
        return 1 + len(self.steps) + len(self.checkpoints) + len(self.attempts)

    @property
    def final(self) -> bool:
        """Whether the execution has ended. Only `retry` leads out of a final status: out of `failed`."""
        return self.status in FINAL

    @property
    def steps_total(self) -> int:
        """The number of steps, or of planned steps if that is greater."""
        return max(self.planned_steps, len(self.steps))

    @property
    def steps_completed(self) -> int:
        """The number of steps that were completed, or skipped by a command; without those that the end has cut short."""
        return sum(step.status in DONE and not step.cut_short for step in self.steps.values())

    @property
    def progress(self) -> float:
        """The progress from 0 to 100: the reported one, or the share of completed steps if none was reported."""
        if self.explicit_progress is not None:
            return self.explicit_progress
        total = self.steps_total
        return round(100 * self.steps_completed / total, 2) if total else 0

    @property
    def times_out_at(self) -> datetime | None:
        """When this attempt reaches its `timeout`, if no event changes that; None without a limit, or while it is not working."""
        if self.active_since is None or self.timeout is None:
            return None
        return self.active_since + self.timeout - (self.active - self.attempts[-1].active_before)

    @property
    def next_checkpoint_at(self) -> datetime | None:
        """When an automatic checkpoint is due, if no event changes that: after 15 minutes of running since the last checkpoint.
        None while the execution is not running, or where it has had no event since its last checkpoint.
        """
        if self.status is not Status.RUNNING or self.active_since is None:
            return None
        last = self.checkpoints[-1].at if self.checkpoints else None
        if last is not None and self.updated_at <= last:
            return None
        return checkpoint_due(self.active_since, last)

    @property
    def working(self) -> bool:
        """Whether it is in a status in which a worker works on it."""
        return self.status in WORKING

    @property
    def was_claimed(self) -> bool:
        """Whether its last attempt was begun by a claim."""
        return bool(self.attempts) and self.attempts[-1].worker is not None

    @property
    def resumable(self) -> bool:
        """Whether it is queued again after a claim, and has a checkpoint from which it can be resumed."""
        return self.status is Status.QUEUED and self.was_claimed and bool(self.checkpoints)

    def lease_until(self, heard_at: datetime | None = None) -> datetime | None:
        """When its lease ends, by its events and the time of the last heartbeat; None if it is not claimed, or not working."""
        if self.claim is None or not self.working:
            return None
        return self.last_sign(heard_at) + self.claim.lease

    def stalls_at(self, heard_at: datetime | None = None) -> datetime | None:
        """When it stalls without a further sign of life; None without a `heartbeat_timeout`, or while it is not running."""
        if self.heartbeat_timeout is None or self.status is not Status.RUNNING:
            return None
        return self.last_sign(heard_at) + self.heartbeat_timeout

    def last_sign(self, heard_at: datetime | None) -> datetime:
        """The time of the last sign of life: of an event of the work, or of the last heartbeat, `heard_at`."""
        seen_at = self.seen_at or self.created_at
        return seen_at if heard_at is None else max(seen_at, heard_at)

    def require_worker(self, worker: str) -> None:
        """Check that a worker has the last attempt. Raises LeaseLost."""
        holder = self.attempts[-1].worker if self.attempts else None
        if holder == worker and self.status is not Status.QUEUED:
            return
        if self.claim is not None:
            raise LeaseLost(
                f"`{worker}` does not hold this execution: `{self.claim.worker}` has claimed it.",
                worker=worker,
                claimedBy=self.claim.worker,
            )
        raise LeaseLost(
            f"`{worker}` does not hold this execution: its lease was lost, or it never had one.",
            worker=worker,
        )

    @property
    def running_step(self) -> str:
        """The id of the running step that was started last, or an empty string."""
        running = [step for step in self.steps.values() if step.status is StepStatus.RUNNING]
        return max(running, key=attrgetter("started_at")).id if running else ""

    def worked_until(self, until: datetime) -> timedelta:
        """The working time until a time, without pauses and waits for a retry."""
        if self.active_since is None:
            return self.active
        return self.active + max(until - self.active_since, NO_TIME)

    def duration(self, until: datetime) -> timedelta:
        """The time from its start to its end, or until a time; zero before its start."""
        if self.started_at is None:
            return NO_TIME
        return max((self.completed_at or until) - self.started_at, NO_TIME)

    def active_duration(self, until: datetime) -> timedelta:
        """The part of `duration` in which it was working: without pauses and waits for a retry."""
        active = self.worked_until(until) - self.active_before_start
        counted_until = until if self.active_since else self.since
        return max(min(active, self.duration(counted_until)), NO_TIME)

    def change(self, recorded: Recorded, **changes: object) -> Self:
        """The state after an event. All events use this method, so that `updated_at` is up to date."""
        at = recorded.occurred_at or recorded.at
        changes.setdefault("seen_at", recorded.at)
        changes.setdefault("stalled", False)
        # The body of `evolve`, as a call would pass the changes once more, for every event.
        changes["updated_at"] = max(self.updated_at, at)
        new = object.__new__(type(self))
        object.__setattr__(new, "__dict__", {**self.__dict__, **changes})
        return new

    def change_silently(self, recorded: Recorded, **changes: object) -> Self:
        """The state after an event that is no sign of life of the worker."""
        signs: dict[str, object] = {"seen_at": self.seen_at, "stalled": self.stalled}
        return self.change(recorded, **(signs | changes))

    def enter(self, status: Status, recorded: Recorded, **changes: object) -> Self:
        """The state after an event that changes the status."""
        return self.change(recorded, status=status, since=recorded.when, **changes)

    def require_allowed(self, command: str) -> None:
        """Check that the status allows a command. Raises IllegalTransition."""
        self.check_transition(command)

    def check_transition(self, command: str, *, equal: bool = True) -> bool:
        """Check that the status allows a command; return whether it is a repeat. `equal`: its content is that of the earlier one.

        Raises:
            IllegalTransition: the status does not allow the command, or it is a repeat with other content.
        """
        cell = move(command, self.status, resumable=self.resumable)
        if cell == "." or (cell == "=" and not equal):
            raise self.refusal(command, again=cell == "=")
        return cell == "="

    def step(self, step_id: str) -> Step:
        """The step with this id.

        Raises:
            NotFound: there is no such step.
        """
        if (step := self.steps.get(step_id)) is None:
            raise NotFound("There is no such step.", step=step_id)
        return step

    def check_step_transition(self, command: str, step: Step, *, equal: bool) -> bool:
        """Check that both the execution and the step allow a command, as `check_transition`. Raises IllegalTransition."""
        self.require_allowed(command)
        cell = STEP_TRANSITIONS[command][step.status]
        if cell == "." or (cell == "=" and not equal):
            raise self.refusal(command, step, again=cell == "=")
        return cell == "="

    def refusal(
        self, command: str, step: Step | None = None, *, again: bool = False
    ) -> IllegalTransition:
        """The error for a command that is not legal, or that is sent `again` with other content."""
        commands = allowed_commands(self.status, resumable=self.resumable)
        if self.erasure is not None:
            commands = [command for command in commands if command != "log"]
        members: dict[str, Any] = {"status": self.status, "allowedCommands": commands}
        if step is not None:
            commands = [word for word in commands if allows(step.status, word)]
            members |= {"allowedCommands": commands, "step": step.id, "stepStatus": step.status}
        why = "was done already, with other content" if again else "is not possible"
        on = f"the step is {step.status}" if step else f"the execution is {self.status}"
        return IllegalTransition(f"`{command}` {why}: {on}.", **members)
