"""How far the data behind an answer goes, and waiting until it goes far enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from api.web.operation import Parameter
from api.web.preferences import seconds_to_wait
from api.web.problems import NotYetVisible
from api.web.request import Request
from domain.eventlog.states import Reading
from domain.execution.types import Status
from domain.model import Held

DEFAULT_WAIT = 5
LONGEST_WAIT = 30
POLL = 0.05
LOGS_WITHIN = 1.0
"""Seconds that a read waits for the server's own log lines."""

MIN_POSITION = Parameter(
    "minPosition",
    "Answer only when the data has reached this position of the log (see `Prefer: wait=<seconds>`)",
    {"type": "integer", "minimum": 0},
)


def reached(request: Request, position: int, at_least: int = 0) -> None:
    """Refuse an answer that goes only so far: a database that crashed may have taken rows back.

    Raises:
        NotYetVisible: it does not reach `?minPosition=`, or `at_least`.
    """
    wanted = max(request.whole("minPosition", 0, 2**63 - 1) or 0, at_least)
    if position < wanted:
        raise NotYetVisible(position=position, minPosition=wanted)


async def fresh(request: Request, view: str, at_least: int = 0) -> None:
    """Wait until a view has reached `?minPosition=`, and `at_least`.

    Raises:
        NotYetVisible: it has not within the time of `Prefer: wait=<seconds>` (5, at most 30).
    """
    wanted = max(request.whole("minPosition", 0, 2**63 - 1) or 0, at_least)
    if wanted and not await request.system.runner.wait(view, wanted, patience(request)):
        raise NotYetVisible(position=request.system.runner.position(view), minPosition=wanted)


async def written(request: Request) -> int:
    """Wait until the log has reached `?minPosition=`; how far a read of the store goes, at least.

    Raises:
        NotYetVisible: it has not within the time of `Prefer: wait=<seconds>` (5, at most 30).
    """
    wanted = request.whole("minPosition", 0, 2**63 - 1) or 0
    deadline = time.monotonic() + patience(request)
    while True:
        position, _ = await request.system.store.head()
        if position >= wanted:
            return position
        if time.monotonic() > deadline:
            raise NotYetVisible(position=position, minPosition=wanted)
        await asyncio.sleep(POLL)


async def look(request: Request, read: Callable[[], Awaitable[Reading]]) -> Reading:
    """What is read once the log has reached `?minPosition=`: where it has already, in one query.

    Raises:
        NotYetVisible: it has not within the time of `Prefer: wait=<seconds>` (5, at most 30).
    """
    wanted = request.whole("minPosition", 0, 2**63 - 1) or 0
    reading = await read()
    if reading.position < wanted:
        await written(request)
        reading = await read()
    return reading


async def noted(request: Request, held: Held[Any]) -> None:
    """Wait a moment for what the server notes of the end, or of the failure before a retry."""
    if held.state.final or held.state.status is Status.RETRY:
        await request.system.runner.wait("logs", held.position, LOGS_WITHIN)


def patience(request: Request) -> int:
    """How many seconds the client wants to wait at most."""
    prefer = request.header("prefer")
    asked = None if prefer is None else seconds_to_wait(prefer)
    return DEFAULT_WAIT if asked is None else min(asked, LONGEST_WAIT)
