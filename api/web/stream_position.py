"""Where a stream begins."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from api.web.request import Call
from domain.errors import DomainError
from domain.json_forms import parse_time


class Start(NamedTuple):
    """A stream begins after this position; `resumed` when the client named it."""

    cursor: int
    resumed: bool


class BadCursor(DomainError):
    """The stream cannot begin there."""

    code = "malformed"


async def start(call: Call, default: str) -> Start:
    """The cursor a client asks for, by `Last-Event-ID` or `?from=`.

    Raises:
        BadCursor: it is no position, lies in the future, or is no time.
    """
    head = await call.system.hub.head()
    if (last := call.header("last-event-id")) is not None:
        return Start(position("Last-Event-ID", last, head), resumed=True)
    wanted = call.parameter("from") or default
    if wanted == "start":
        return Start(0, resumed=False)
    if wanted == "now":
        return Start(head, resumed=False)
    if wanted.isdecimal():
        return Start(position("from", wanted, head), resumed=True)
    return Start(min(await call.system.store.position_before(_time(wanted)), head), resumed=False)


def position(name: str, text: str, head: int) -> int:
    """A position that lies in the log. Raises BadCursor."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= head):
        raise BadCursor(f"{name} must be a position of the log, from 0 to {head}.")
    return int(text)


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise BadCursor(f"`from` must be start, now, a position or a time: {error}.") from None
