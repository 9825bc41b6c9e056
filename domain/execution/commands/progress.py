"""The commands that report progress and usage, and save checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from domain.errors import Invalid
from domain.execution.events.progress import CheckpointSaved, ProgressUpdated
from domain.execution.events.steps import UsageRecorded
from domain.execution.state import CHECKPOINT_LATE, Execution
from domain.execution.types import MentionedStep, Usage, copy_set_fields
from domain.model import Command, Context, Event
from domain.types import LARGEST_COST, JsonObject, Percent

LARGEST_COUNT = 2**53 - 1
"""The largest integer that every JSON parser reads exactly (RFC 8259, section 6)."""


class UpdateProgress(Command[Execution]):
    """Report the progress, from 0 to 100; it may also fall."""

    wire_name: ClassVar[str] = "updateProgress"

    progress: Percent

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        if self.progress != execution.explicit_progress:
            yield ProgressUpdated(progress=self.progress)


class RecordUsage(Usage, Command[Execution]):
    """Add usage, of the execution or of one of its steps."""

    wire_name: ClassVar[str] = "recordUsage"

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        yield from record_usage(execution, self)


class SaveCheckpoint(Command[Execution]):
    """Save a checkpoint: a state from which the work can be resumed."""

    wire_name: ClassVar[str] = "checkpoint"

    state: JsonObject
    step: MentionedStep | None = None

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        yield save_checkpoint(execution, self.state, self.step)


class AutoCheckpoint(Command[Execution]):
    """Save an automatic checkpoint with the state of the last one, if one is due. Only the server sends this."""

    wire_name: ClassVar[str] = "autoCheckpoint"

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        execution.require_allowed(self.wire_name)
        due = execution.next_checkpoint_at
        if due is None or not due <= context.now <= due + CHECKPOINT_LATE:
            return
        yield save_checkpoint(execution, None).model_copy(update={"automatic": True})


def record_usage(
    execution: Execution, usage: Usage, step: str | None = None
) -> Iterator[UsageRecorded]:
    """The event that records usage; none where all amounts are 0.

    Raises:
        Invalid: a total would exceed its largest value.
    """
    if not (usage.tokens_used or usage.cost or usage.api_calls):
        return
    total = execution.used.plus(usage)
    for field, count in (("tokensUsed", total.tokens_used), ("apiCalls", total.api_calls)):
        if count > LARGEST_COUNT:
            raise Invalid.field(
                field, f"must keep the total at or below {LARGEST_COUNT}, but it would be {count}"
            )
    if total.cost > LARGEST_COST:
        raise Invalid.field(
            "cost", f"must keep the total at or below {LARGEST_COST}, but it would be {total.cost}"
        )
    recorded = copy_set_fields(usage, UsageRecorded)
    yield recorded if step is None else recorded.model_copy(update={"step": step})


def save_checkpoint(
    execution: Execution, state: dict[str, Any] | None, step: str | None = None
) -> CheckpointSaved:
    """The event of a checkpoint with `state`, or, if that is None, with the state of the last checkpoint."""
    if state is None:
        state = execution.checkpoints[-1].state if execution.checkpoints else {}
    return CheckpointSaved(
        checkpoint=f"cp-{len(execution.checkpoints) + 1}",
        state=state,
        step=execution.running_step if step is None else step,
        progress=execution.progress,
    )
