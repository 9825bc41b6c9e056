"""Long work on the loop, with pauses in which other requests are served."""

from __future__ import annotations

import asyncio
from time import monotonic

LONGEST = 0.002


class Breath:
    """Take it between small pieces of work: it is a pause where the last is long ago."""

    def __init__(self) -> None:
        self._due = monotonic() + LONGEST

    async def take(self) -> None:
        if monotonic() >= self._due:
            await asyncio.sleep(0)
            self._due = monotonic() + LONGEST
