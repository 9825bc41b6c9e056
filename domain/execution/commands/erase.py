"""The command that erases the content of an execution: its data key is destroyed, so that its content cannot be decrypted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from domain.errors import Erased
from domain.execution.events.lifecycle import ExecutionCancelled, ExecutionErased
from domain.execution.order_in_time import require_after_steps
from domain.execution.state import Execution
from domain.model import Command, Context, Event
from domain.types import Reason

OTHER_REASON = "This execution was erased already, for another reason."


class EraseExecution(Command[Execution]):
    """Erase the content of an execution. An execution that has not ended is cancelled, as its work needs the content.

    Raises:
        Erased: it was erased before, for another reason.
        Invalid: it would be erased before its status, or a step that is running, began.
    """

    wire_name: ClassVar[str] = "erase"

    reason: Reason

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        if execution.erasure is None:
            require_after_steps(execution, context)
            if not execution.final:
                yield ExecutionCancelled()
            yield ExecutionErased(reason=self.reason)
        elif self.reason != execution.erasure.reason:
            raise Erased(OTHER_REASON)
