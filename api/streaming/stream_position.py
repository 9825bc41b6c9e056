"""Finds the position after which a stream begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from domain.errors import DomainError
from domain.json_forms import parse_time


class StreamStart(NamedTuple):
    """The position after which a stream begins; `resumed` where the client named the position."""

    cursor: int
    resumed: bool


class BadCursor(DomainError):
    """A stream cannot begin at the cursor of the request; names the parameter and what is wrong with it."""

    code = "malformed"

    def __init__(self, name: str, message: str) -> None:
        self.message = message
        super().__init__(f"`{name}` {message}.")


class CursorOfOtherLog(DomainError):
    """The cursor, or the position, is of another log: this one was restored from a backup, or is another server's."""

    code = "other-log"


def require_log(wanted: str | None, of_log: str) -> None:
    """Check that a cursor or position of a client is of this log.

    Raises:
        CursorOfOtherLog: `wanted` is the id of another log.
    """
    if wanted is not None and wanted != of_log:
        raise CursorOfOtherLog(log=of_log)


async def start_at(
    last: str | None,
    wanted: str,
    head: int,
    position_before: Callable[[datetime], Awaitable[int]],
) -> StreamStart:
    """The position after which a client wants its stream to begin: after its `last` id, else by `?from=` (`wanted`).

    Raises:
        BadCursor: the value is no position and no time, or lies in the future.
    """
    if last is not None:
        return StreamStart(_position("Last-Event-ID", last, head), resumed=True)
    if wanted == "start":
        return StreamStart(0, resumed=False)
    if wanted == "now":
        return StreamStart(head, resumed=False)
    if wanted.isdecimal():
        return StreamStart(_position("from", wanted, head), resumed=True)
    return StreamStart(min(await position_before(_time(wanted)), head), resumed=False)


def _position(name: str, text: str, head: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= head):
        raise BadCursor(name, f"must be a position of the log, from 0 to {head}")
    return int(text)


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        message = f"must be `start`, `now`, a position or a time; as a time it {error}"
        raise BadCursor("from", message) from None
