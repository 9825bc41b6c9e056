"""Log lines of an execution as clients send them, and the command that stores them."""

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
"""How far the clock of a worker may be ahead of the clock of the server."""


class LogLine(Value):
    """A log line as a client sends it. Its time is `timestamp`, or `occurredAt`, as in commands, or the time of its arrival."""

    level: LogLevel
    message: LongText
    step: Label | None = None
    context: JsonObject | None = None
    timestamp: Time | None = None
    occurred_at: Time | None = None

    @property
    def when(self) -> datetime | None:
        """The time that the client gave, or None."""
        return self.timestamp or self.occurred_at


class AppendLogLines(Command[Execution]):
    """Store log lines of an execution, in every status.

    Raises:
        Invalid: the time of a line lies in the future.
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
