"""A command as it is sent to the writer, with its conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from domain.eventlog.idempotency import IdempotencyKey
from domain.model import Command, Versioned

LARGEST_COMMAND = 1024 * 1024
"""Bytes of JSON that one command may have. Larger bodies are for routes that take many commands."""

Permits = Callable[[Versioned[Any]], bool]
"""Whether a state is visible to a sender."""


class Unless(NamedTuple):
    """A condition: no event of `type` was recorded after position `after`."""

    type: str
    after: int

    @staticmethod
    def earliest(conditions: Iterable[Unless]) -> dict[str, int]:
        """For each type, the least position after which one of the conditions allows no event."""
        found: dict[str, int] = {}
        for type_, after in conditions:
            found[type_] = min(after, found.get(type_, after))
        return found


class Message(NamedTuple):
    """A command with the stream that it is for, its sender and its conditions.

    - `by`: the actor.
    - `if_match`: the stream must have one of these versions; 0 means that it must not exist yet.
    - `importing`: the sender has the right to date events more than 24 hours back.
    - `worker`: the name that a worker gave; that worker must hold the claim of the execution.
    - `permits`: whether an execution or an order is visible to the sender; what is not does not exist for it. None: all are.
    - `unless`: the command is refused if such an event was recorded after the sender read the log.
    - `bulk`: the command was sent with many others, so commands that were sent alone go first.
    """

    stream: str
    command: Command[Any]
    by: str
    correlation: str | None = None
    causation: str | None = None
    if_match: tuple[int, ...] | None = None
    importing: bool = False
    idempotency: IdempotencyKey | None = None
    worker: str | None = None
    permits: Permits | None = None
    unless: Unless | None = None
    bulk: bool = False

    @property
    def needs_lock(self) -> bool:
        """Whether the command depends on stored replies or on events of a type, which the versions of streams do not show."""
        return self.idempotency is not None or self.unless is not None
