"""The server runs its periodic duties every second, also when the wall clock leaps."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn

from api import server
from api.streaming.hub import Hub
from api.transport.connection_limits import ConnectionLimits

DAY = 86_400.0

pytestmark = pytest.mark.anyio


async def nothing(*_: Any) -> None:
    """An application that does nothing."""


async def test_periodic_duties_run_every_second_after_a_leap_ahead_and_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called = []

    async def watch() -> None:
        called.append(now)

    config = uvicorn.Config(nothing, callback_notify=watch, timeout_notify=1, log_config=None)
    running = server.Server(config, cast(Hub, SimpleNamespace()), ConnectionLimits(10))
    now = 1_000 * DAY
    monkeypatch.setattr(time, "time", lambda: now)
    for tick, leap in ((0, 0), (10, DAY), (20, -DAY), (30, 0)):
        now += leap + 1
        await running.on_tick(tick)
    assert len(called) == 4
