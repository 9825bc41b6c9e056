"""A command on its way to the writer, with its conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from domain.eventlog.idempotency import IdempotencyKey
from domain.model import Command, Versioned

LARGEST_COMMAND = 1024 * 1024
"""Bytes of JSON that one command may have; a longer body is many commands."""


Permits = Callable[[Versioned[Any]], bool]
"""Tells of a state whether a sender reaches it."""


class Unless(NamedTuple):
    """That no event of a type was recorded after a position."""

    type: str
    after: int


class Message(NamedTuple):
    """A command on its way: to which stream, from whom, and under which conditions.

    `if_match` are versions, of which the stream must have one, 0 where there must be none yet;
    `importing` is the right to date events more than 24 hours back. Where a `worker` names itself, the
    stream must be its to work on. `permits` tells whether the sender reaches an execution or an order: others
    do not exist for it, None where it reaches all. `unless` refuses what was decided on the log as it was.
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

    @property
    def needs_lock(self) -> bool:
        """Whether it depends on more than streams: on what the head of the log cannot tell."""
        return self.idempotency is not None or self.unless is not None
