"""Failed attempts: the limit of each address, and how it refills."""

from __future__ import annotations

import asyncio

import pytest

from api.access.failed_attempts import MOST_ADDRESSES, FailedAttempts
from api.problems.problems import TooManyAttempts, Unauthenticated

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def spend(attempts: FailedAttempts, address: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Unauthenticated):
            async with attempts.one_of(address):
                raise Unauthenticated


async def succeed(attempts: FailedAttempts, address: str) -> None:
    async with attempts.one_of(address):
        pass


async def retry_after(attempts: FailedAttempts, address: str) -> int:
    with pytest.raises(TooManyAttempts) as refused:
        await succeed(attempts, address)
    return int(refused.value.members["retryAfter"])


async def test_attempts_of_an_address_refill_one_by_one() -> None:
    clock = Clock()
    attempts = FailedAttempts(20, clock)
    await spend(attempts, "127.0.0.1", 20)
    assert await retry_after(attempts, "127.0.0.1") == 3
    clock.now += 3
    await spend(attempts, "127.0.0.1", 1)
    assert await retry_after(attempts, "127.0.0.1") == 3
    clock.now += 60
    await spend(attempts, "127.0.0.1", 20)


async def test_address_is_not_limited_by_attempts_of_another() -> None:
    attempts = FailedAttempts(2, Clock())
    await spend(attempts, "192.0.2.1", 2)
    await retry_after(attempts, "192.0.2.1")
    await succeed(attempts, "192.0.2.2")


async def test_attempts_that_succeed_are_not_counted() -> None:
    attempts = FailedAttempts(2, Clock())
    for _ in range(10):
        await succeed(attempts, "192.0.2.1")
    await spend(attempts, "192.0.2.1", 2)
    await retry_after(attempts, "192.0.2.1")


async def test_ipv6_addresses_of_one_network_share_a_limit() -> None:
    attempts = FailedAttempts(2, Clock())
    await spend(attempts, "2001:db8::1", 2)
    await retry_after(attempts, "2001:db8::ffff:2")
    await succeed(attempts, "2001:db8:0:1::1")
    await spend(attempts, "::ffff:192.0.2.1", 2)
    await succeed(attempts, "::ffff:192.0.2.2")


async def test_memory_for_addresses_is_bounded() -> None:
    attempts = FailedAttempts(1, Clock())
    for number in range(MOST_ADDRESSES + 100):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        await spend(attempts, address, 1)
    assert len(attempts._spent) == MOST_ADDRESSES
    assert not attempts._running
    assert not attempts._waiting
    await succeed(attempts, "10.0.0.0")
    await retry_after(attempts, "10.0.39.100")


class Checks:
    """Look-ups of tokens that wait until the test calls `answer`."""

    def __init__(self, attempts: FailedAttempts) -> None:
        self.attempts = attempts
        self.open: list[asyncio.Future[bool]] = []

    async def check(self) -> str:
        try:
            async with self.attempts.one_of("192.0.2.1"):
                answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
                self.open.append(answer)
                if not await answer:
                    raise Unauthenticated
        except (Unauthenticated, TooManyAttempts) as error:
            return error.code
        return "in"

    async def answer(self, *, good: bool) -> None:
        """Answer all look-ups that have begun, and let others begin."""
        answered, self.open = self.open, []
        for each in answered:
            each.set_result(good)
        for _ in range(10):
            await asyncio.sleep(0)


async def begin_attempts(checks: Checks, times: int) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(checks.check()) for _ in range(times)]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_simultaneous_attempts_do_not_exceed_the_limit() -> None:
    checks = Checks(FailedAttempts(20, Clock()))
    tasks = await begin_attempts(checks, 100)
    assert len(checks.open) == 20
    await checks.answer(good=False)
    assert sorted(await asyncio.gather(*tasks)) == ["rate-limited"] * 80 + ["unauthenticated"] * 20


async def test_waiting_attempts_continue_when_others_have_succeeded() -> None:
    checks = Checks(FailedAttempts(3, Clock()))
    tasks = await begin_attempts(checks, 10)
    while checks.open:
        assert len(checks.open) <= 3
        await checks.answer(good=True)
    assert await asyncio.gather(*tasks) == ["in"] * 10


async def test_cancelled_attempt_that_was_waiting_does_not_block_others() -> None:
    checks = Checks(FailedAttempts(1, Clock()))
    first, second, third = await begin_attempts(checks, 3)
    second.cancel()
    await checks.answer(good=True)
    await checks.answer(good=True)
    assert (await first, await third) == ("in", "in")
    assert second.cancelled()
