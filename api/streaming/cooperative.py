"""Splits long work on the event loop, so that other requests run in between."""

from __future__ import annotations

import asyncio
from time import monotonic

LONGEST_TURN = 0.002
"""Seconds of work after which the event loop runs other tasks."""


class Cooperative:
    """Yields to the event loop every `LONGEST_TURN` seconds: call `pause` between small pieces of work."""

    def __init__(self) -> None:
        self._due = monotonic() + LONGEST_TURN

    async def pause(self) -> None:
        if monotonic() >= self._due:
            await asyncio.sleep(0)
            self._due = monotonic() + LONGEST_TURN
