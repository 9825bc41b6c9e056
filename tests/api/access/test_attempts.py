"""Failed attempts: how many each address has, and how they come back."""

from __future__ import annotations

import pytest

from api.access.attempts import MOST_ADDRESSES, FailedAttempts
from api.problems.problems import TooManyAttempts


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def spent(attempts: FailedAttempts, address: str, times: int) -> None:
    for _ in range(times):
        attempts.require(address)
        attempts.failed(address)


def retry_after(attempts: FailedAttempts, address: str) -> int:
    with pytest.raises(TooManyAttempts) as refused:
        attempts.require(address)
    return int(refused.value.members["retryAfter"])


def test_attempts_of_a_minute_come_back_one_by_one() -> None:
    clock = Clock()
    attempts = FailedAttempts(20, clock)
    spent(attempts, "127.0.0.1", 20)
    assert retry_after(attempts, "127.0.0.1") == 3
    clock.now += 3
    spent(attempts, "127.0.0.1", 1)
    assert retry_after(attempts, "127.0.0.1") == 3
    clock.now += 60
    spent(attempts, "127.0.0.1", 20)


def test_address_is_not_held_up_by_another() -> None:
    attempts = FailedAttempts(2, Clock())
    spent(attempts, "192.0.2.1", 2)
    retry_after(attempts, "192.0.2.1")
    attempts.require("192.0.2.2")


def test_ipv6_addresses_of_one_network_are_one() -> None:
    attempts = FailedAttempts(2, Clock())
    spent(attempts, "2001:db8::1", 2)
    retry_after(attempts, "2001:db8::ffff:2")
    attempts.require("2001:db8:0:1::1")
    spent(attempts, "::ffff:192.0.2.1", 2)
    attempts.require("::ffff:192.0.2.2")


def test_memory_for_addresses_is_bounded() -> None:
    attempts = FailedAttempts(1, Clock())
    for number in range(MOST_ADDRESSES + 100):
        attempts.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(attempts._spent) == MOST_ADDRESSES
    attempts.require("10.0.0.0")
    retry_after(attempts, "10.0.39.100")
