"""The base class of all events of an execution."""

from __future__ import annotations

from domain.execution.state import Execution
from domain.model import Event, Recorded


class ExecutionEvent(Event):
    """An event of an execution."""

    def apply(self, state: Execution, recorded: Recorded) -> Execution:
        raise NotImplementedError
