"""Log lines appended by a writer of their own, at a time that the test chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from domain.eventlog.idempotency import IdempotencyKey
from domain.eventlog.store import Store
from domain.execution.commands.log import AppendLogLines, LogLine
from domain.writer.command_bus import Bus
from domain.writer.message import Message


async def append_lines(
    store: Store,
    execution: str,
    lines: Sequence[LogLine],
    at: datetime,
    once: IdempotencyKey | None = None,
    *,
    written: Callable[[], None] = lambda: None,
) -> bool:
    """Append lines in one commit; returns whether that was done before under the same key."""
    bus = Bus(store, lambda: at, str, lambda: 0.5, lines_written=written)
    command = AppendLogLines(lines=tuple(lines))
    bus.start()
    try:
        message = Message(f"execution/{execution}", command, "tester", idempotency=once)
        return (await bus.send(message)).replayed
    finally:
        await bus.stop()
