"""How far the data behind an answer goes, and waiting until it goes far enough."""

from __future__ import annotations

import asyncio
import time

from api.web.operation import Parameter
from api.web.preferences import seconds_to_wait
from api.web.problems import NotYetVisible
from api.web.request import Call

DEFAULT_WAIT = 5
LONGEST_WAIT = 30
POLL = 0.05

MIN_POSITION = Parameter(
    "minPosition",
    "Answer only when the data has reached this position of the log (see `Prefer: wait=<seconds>`)",
    {"type": "integer", "minimum": 0},
)


def reached(call: Call, position: int) -> None:
    """Refuse an answer that goes only so far: a database that crashed may have taken rows back.

    Raises:
        NotYetVisible: it does not reach `?minPosition=`.
    """
    wanted = call.whole("minPosition", 0, 2**63 - 1)
    if wanted is not None and position < wanted:
        raise NotYetVisible(position=position, minPosition=wanted)


async def fresh(call: Call, view: str) -> None:
    """Wait until a view has reached `?minPosition=`.

    Raises:
        NotYetVisible: it has not within the time of `Prefer: wait=<seconds>` (5, at most 30).
    """
    wanted = call.whole("minPosition", 0, 2**63 - 1)
    if wanted is None:
        return
    if not await call.system.runner.wait(view, wanted, patience(call)):
        raise NotYetVisible(position=call.system.runner.position(view), minPosition=wanted)


async def written(call: Call) -> int:
    """Wait until the log has reached `?minPosition=`; how far a read of the store goes, at least.

    Raises:
        NotYetVisible: it has not within the time of `Prefer: wait=<seconds>` (5, at most 30).
    """
    wanted = call.whole("minPosition", 0, 2**63 - 1) or 0
    deadline = time.monotonic() + patience(call)
    while True:
        position, _ = await call.system.store.head()
        if position >= wanted:
            return position
        if time.monotonic() > deadline:
            raise NotYetVisible(position=position, minPosition=wanted)
        await asyncio.sleep(POLL)


def patience(call: Call) -> int:
    """How many seconds the client wants to wait at most."""
    prefer = call.header("prefer")
    asked = None if prefer is None else seconds_to_wait(prefer)
    return DEFAULT_WAIT if asked is None else min(asked, LONGEST_WAIT)
