"""Host look-ups use a bounded number of threads, and hanging look-ups delay no other host."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from threading import Event, Lock
from typing import Any

import pytest

from workers.outbound import look_up as module
from workers.outbound.look_up import LookUps

pytestmark = pytest.mark.anyio


class Resolver:
    """Answers at once, except for hanging hosts: those once they are `released`."""

    def __init__(self) -> None:
        self.released = Event()
        self.asked: Counter[str] = Counter()
        self.most = self._running = 0
        self._lock = Lock()

    def __call__(self, host: str, *_: Any, **__: Any) -> list[Any]:
        with self._lock:
            self.asked[host] += 1
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            if host.startswith("hangs"):
                self.released.wait(60)
                raise OSError("no such host")
            return [(0, 0, 0, "", ("192.0.2.1", 80))]
        finally:
            with self._lock:
                self._running -= 1


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.released.set()


def ask(look_up: LookUps, *hosts: str) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(look_up(host, 80)) for host in hosts]


async def end(resolver: Resolver, *tasks: asyncio.Task[Any]) -> None:
    resolver.released.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_hanging_host_takes_one_thread_however_many_requests_wait(resolver: Resolver) -> None:
    look_up = LookUps()
    tasks = ask(look_up, *["hangs"] * 1_000)
    async with asyncio.timeout(60):
        assert await look_up("other", 80) == ["192.0.2.1"]
    await end(resolver, *tasks)
    assert resolver.asked == {"hangs": 1, "other": 1}
    assert all(isinstance(task.exception(), OSError) for task in tasks)


async def test_hanging_hosts_take_a_bounded_number_of_threads(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 4)
    tasks = ask(LookUps(), *(f"hangs{n}" for n in range(20)))
    while resolver.most < 4:  # noqa: ASYNC110 - no signal
        await asyncio.sleep(0.01)
    await end(resolver, *tasks)
    assert resolver.most == 4
    assert len(resolver.asked) == 20


async def test_hosts_that_were_slow_delay_no_other(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 4)
    monkeypatch.setattr(module, "OF_SLOW", 2)
    monkeypatch.setattr(module, "SLOW", 0.0)
    look_up, hosts = LookUps(), [f"hangs{n}" for n in range(20)]
    await end(resolver, *ask(look_up, *hosts))
    resolver.released.clear()
    tasks = ask(look_up, *hosts)
    async with asyncio.timeout(60):
        assert await look_up("other", 80) == ["192.0.2.1"]
    await end(resolver, *tasks)


async def test_queued_look_up_without_a_waiting_request_is_skipped(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    look_up = LookUps()
    first, left = ask(look_up, "hangs", "left")
    await asyncio.sleep(0)
    left.cancel()
    await end(resolver, first, left)
    assert await look_up("other", 80) == ["192.0.2.1"]
    assert resolver.asked == {"hangs": 1, "other": 1}


async def test_ip_address_is_not_looked_up(resolver: Resolver) -> None:
    look_up = LookUps()
    assert await look_up("192.0.2.7", 80) == ["192.0.2.7"]
    assert await look_up("2001:db8::1", 80) == ["2001:db8::1"]
    assert not resolver.asked


async def test_look_up_without_a_waiting_request_ends_silently(resolver: Resolver) -> None:
    look_up = LookUps()
    [task] = ask(look_up, "hangs")
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    again = ask(look_up, "hangs")
    await asyncio.sleep(0)  # it joins the look-up that hangs, before that is released
    await end(resolver, *again)
    assert resolver.asked == {"hangs": 1}
