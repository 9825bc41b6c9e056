"""Splits long work on the event loop, so that other requests run in between."""

from __future__ import annotations

import asyncio
from time import monotonic

LONGEST_TURN = 0.002


class Cooperative:
    """Call `pause` between small pieces of work: it yields to the loop every `LONGEST_TURN` seconds."""

    def __init__(self) -> None:
        self._due = monotonic() + LONGEST_TURN

    async def pause(self) -> None:
        if monotonic() >= self._due:
            await asyncio.sleep(0)
            self._due = monotonic() + LONGEST_TURN
