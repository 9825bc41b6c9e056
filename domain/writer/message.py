"""A command on its way to the writer, with its conditions."""

from __future__ import annotations

from typing import Any, NamedTuple

from domain.eventlog.idempotency import IdempotencyKey
from domain.model import Command

LARGEST_COMMAND = 1024 * 1024
"""Bytes of JSON that one command may have; a longer body is many commands."""


class Message(NamedTuple):
    """A command on its way: to which stream, from whom, and under which conditions.

    `if_match` are versions, of which the stream must have one, 0 where there must be none yet;
    `importing` is the right to date events more than 24 hours back. Where a `worker` names itself, the
    stream must be its to work on.
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
