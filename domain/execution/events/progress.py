"""The events of progress: a worker reports progress, or saves a checkpoint."""

from __future__ import annotations

from typing import Any, ClassVar

from domain.execution.events.event import ExecutionEvent
from domain.execution.parts import Checkpoint
from domain.execution.state import Execution
from domain.model import Recorded
from domain.sealing import Sealed
from domain.types import Percent


class ProgressUpdated(ExecutionEvent):
    """The worker reported progress."""

    type: ClassVar[str] = "execution.progress"
    progress: Percent

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        return state.change(recorded, explicit_progress=self.progress)


class CheckpointSaved(ExecutionEvent):
    """A checkpoint was saved, by the worker or automatically."""

    type: ClassVar[str] = "execution.checkpoint"
    checkpoint: str
    state: Sealed[dict[str, Any]]
    step: str = ""
    progress: Percent = 0
    automatic: bool = False

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        checkpoint = Checkpoint(
            self.checkpoint, recorded.when, self.state, self.step, self.progress
        )
        change = state.change_silently if self.automatic else state.change
        return change(recorded, checkpoints=(*state.checkpoints, checkpoint))
