"""Knows the executions for which the clock of this machine is ahead of that of the service, which refuses times of the future."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

MOST = 10_000
"""Executions that are remembered, the latest ones."""


class EarlyExecutions:
    """Executions with a command that was refused because its time lies in the future: their commands are sent without a time."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def __contains__(self, execution: object) -> bool:
        return execution in self._ids

    def add(self, execution: str) -> None:
        """Remember an execution."""
        self._ids[execution] = None
        if len(self._ids) > MOST:
            del self._ids[next(iter(self._ids))]

    def without_time(self, line: bytes) -> bytes:
        """Return a command without its time, if it is to one of these executions."""
        if not self._ids:
            return line
        command = from_json(line)
        if command.get("execution") not in self._ids or "occurredAt" not in command:
            return line
        del command["occurredAt"]
        return to_json(command)


def is_of_the_future(problem: dict[str, Any]) -> bool:
    """Return whether a command was refused because its time lies in the future."""
    return any(
        error["path"] in ("occurredAt", "timestamp") and "future" in error["message"]
        for error in problem.get("errors", ())
    )
