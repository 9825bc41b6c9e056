"""What the server looks after every second, whatever becomes of the time of day, and of memory and descriptors."""

from __future__ import annotations

import errno
import time
from typing import Any, cast

import pytest
import uvicorn
from structlog.testing import capture_logs

from api import server
from api.embedded_postgres.address_file import AddressFile
from api.system import System
from api.transport.connection_limits import ConnectionLimits
from api.work_process import WorkProcess
from domain.outages import Outages

DAY = 86_400.0

pytestmark = pytest.mark.anyio


class Duties:
    """Stands for what is looked after; it fails where it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self._error = error

    def publish(self) -> None:
        self.ensure_running()

    def ensure_running(self) -> None:
        self.calls += 1
        if self._error is not None:
            raise self._error


async def nothing(*_: Any) -> None:
    """An application."""


async def test_server_looks_after_its_processes_every_second_after_a_leap_ahead_and_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called = []

    async def watch() -> None:
        called.append(now)

    config = uvicorn.Config(nothing, callback_notify=watch, timeout_notify=1, log_config=None)
    running = server.Server(config, cast(System, None), ConnectionLimits(10))
    now = 1_000 * DAY
    monkeypatch.setattr(time, "time", lambda: now)
    for tick, leap in ((0, 0), (10, DAY), (20, -DAY), (30, 0)):
        now += leap + 1
        await running.on_tick(tick)
    assert len(called) == 4


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "none left"), MemoryError()])
async def test_server_that_cannot_look_after_one_thing_looks_after_the_others(
    error: Exception,
) -> None:
    sign, worker = Duties(error), Duties(error)
    watch = server._watching(None, cast(AddressFile, sign), cast(WorkProcess, worker), Outages())
    with capture_logs() as logged:
        await watch()
        await watch()
    assert (sign.calls, worker.calls) == (2, 2)
    assert {line["event"] for line in logged} == {"what the server looks after has to wait"}
