"""Supervised tasks run until they are stopped, and are restarted after a failure."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from domain.supervisor import Background, Tasks, run_parts

pytestmark = pytest.mark.anyio


class Counting(Background):
    """Fails twice: once with an outage, once with an error of its own."""

    outages = (ConnectionError,)

    def __init__(self) -> None:
        self.runs = 0
        self.third = asyncio.Event()

    def tasks(self) -> Tasks:
        return {"counting": self._count, "ready at once": self._finish}

    async def _count(self) -> None:
        self.runs += 1
        if self.runs < 3:
            raise (ConnectionError if self.runs == 1 else LookupError)(f"run {self.runs}")
        self.third.set()
        await asyncio.Event().wait()

    async def _finish(self) -> bool:
        return True


async def test_part_is_restarted_after_an_outage_and_an_error_until_it_is_stopped() -> None:
    part = Counting()
    with capture_logs() as lines:
        async with run_parts([part]):
            names = {task.get_name() for task in asyncio.all_tasks()}
            assert names >= {"counting", "ready at once"}
            await asyncio.wait_for(part.third.wait(), 5)
        assert "counting" not in {task.get_name() for task in asyncio.all_tasks()}
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [
        "task failed, and starts again"
    ]
    assert part.runs == 3


async def test_part_that_was_never_started_is_stopped() -> None:
    await Counting().stop()


class Stuck(Counting):
    """Its tasks end, but its stop does not."""

    async def stop(self) -> None:
        await super().stop()
        await asyncio.Event().wait()


async def test_all_parts_are_stopped_though_the_stop_of_one_is_cancelled() -> None:
    counting, stuck, began = Counting(), Stuck(), asyncio.Event()

    async def run() -> None:
        async with run_parts([counting, stuck]):
            began.set()

    task = asyncio.create_task(run())
    await began.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "counting" not in {each.get_name() for each in asyncio.all_tasks()}
