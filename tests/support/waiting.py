"""Waiting for what comes about by itself."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(reached: Callable[[], object], seconds: float = 30, *, every: float = 0.02) -> None:
    """Return once it is so; fail where it is not within some seconds."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(every)
