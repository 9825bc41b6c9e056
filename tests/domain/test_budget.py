"""Long work yields to other tasks after each slice, and is refused beyond its budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from domain.budget import SLICE, Budget
from domain.errors import TooExpensive

pytestmark = pytest.mark.anyio


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def budget(clock: Callable[[], float], seconds: float) -> Budget:
    return Budget(seconds, TooExpensive.field("to", "ask for less"), clock)


async def others_ran(work: Callable[[], object]) -> bool:
    """Whether another task ran during this work."""
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await work()  # type: ignore[misc]  # a coroutine function
    return ran.is_set()


async def test_others_run_after_a_slice_of_work_and_not_before() -> None:
    clock = Clock()
    long = budget(clock, 1)
    assert not await others_ran(long.let_others_run)
    clock.now += SLICE
    assert await others_ran(long.let_others_run)
    assert not await others_ran(long.let_others_run)


async def test_work_beyond_the_budget_is_refused_with_advice() -> None:
    clock = Clock()
    long = budget(clock, 1)
    clock.now += 1
    await long.let_others_run()
    clock.now += 2 * SLICE
    with pytest.raises(TooExpensive) as refused:
        await long.let_others_run()
    assert refused.value.members == {"errors": [{"path": "to", "message": "ask for less"}]}


async def test_budget_excludes_the_time_of_awaited_work() -> None:
    clock = Clock()
    long = budget(clock, 1)

    async def others() -> str:
        clock.now += 100
        return "done"

    assert await long.wait(others()) == "done"
    clock.now += 2 * SLICE
    await long.let_others_run()
