"""Log lines of an execution, as clients send them, and the command that keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import ClassVar

from domain.errors import Invalid
from domain.execution.state import Execution
from domain.execution.types import LogLevel
from domain.json_forms import Time, format_time
from domain.model import Command, Context, LogEntry, Recordable, Value
from domain.types import JsonObject, Label, LongText

CLOCKS_DIFFER = timedelta(minutes=1)
"""How far ahead of ours a worker's clock may be."""


class LogLine(Value):
    """One line as a client sends it; without a time it is of the moment it arrives.

    The time is the line's `timestamp`, or, as commands call it, its `occurredAt`.
    """

    level: LogLevel
    message: LongText
    step: Label | None = None
    context: JsonObject | None = None
    timestamp: Time | None = None
    occurred_at: Time | None = None

    @property
    def when(self) -> datetime | None:
        """The time it is of, as far as the client said."""
        return self.timestamp or self.occurred_at


class AppendLogLines(Command[Execution]):
    """Keep log lines of an execution, whatever its status.

    Raises:
        Invalid: a line is of the future.
    """

    wire_name: ClassVar[str] = "log"

    lines: tuple[LogLine, ...]

    def decide(self, state: Execution, context: Context) -> Iterator[Recordable]:
        for index, line in enumerate(self.lines):
            when = line.when or context.now
            if when - context.now > CLOCKS_DIFFER:
                path = f"{index}.timestamp" if len(self.lines) > 1 else "timestamp"
                raise Invalid.field(
                    path, f"must not lie in the future, but is `{format_time(when)}`"
                )
            content = {"message": line.message, "context": line.context}
            yield LogEntry(when, line.level, line.step, content)
