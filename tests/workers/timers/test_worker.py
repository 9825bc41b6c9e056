"""Each timer has its effect once: fired on time, late, twice or by two processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from domain.errors import Overloaded
from domain.eventlog.codec import EventRow
from domain.eventlog.sessions import session_options
from domain.execution.commands import (
    CancelExecution,
    CompleteExecution,
    FailExecution,
    UpdateProgress,
)
from domain.execution.retry_policy import RetryPolicy
from domain.supervisor import cancel
from domain.writer.guarded_writer import GuardedWriter
from projections.engine.rebuild import rebuild
from projections.timers.projection import Timers
from tests.support.followed_log import SCHEMA, FollowedLog
from workers import ownership
from workers.timers import throttle
from workers.timers import worker as timers_module
from workers.timers.worker import TimerWorker

pytestmark = pytest.mark.anyio
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
POLICY = RetryPolicy(
    max_retries=2, backoff="exponential", initial_delay=10 * SECOND, max_delay=60 * SECOND
)


class World(FollowedLog):
    """With the read model of its timers."""

    async def fire(self, worker: TimerWorker, after: timedelta = timedelta()) -> int:
        """Let time pass, and fire what is due then."""
        self.now += after
        await self.follow()
        fired = await worker.fire(self.connection)
        await self.follow()
        return fired

    def worker(self) -> TimerWorker:
        return TimerWorker(self.guarded_writer, "", SCHEMA, lambda: self.now)

    async def types(self, id_: str) -> list[str]:
        rows = await self.store.history(f"execution/{id_}")
        return [row.type.removeprefix("execution.") for row in rows]


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with World.opened(database, Timers()) as opened:
        yield opened


def failure(**more: Any) -> FailExecution:
    return FailExecution(code="SMTP", message="No answer", recoverable=True, **more)


def damage(database: str, streams: str) -> None:
    """Make the streams that are like a pattern unreadable."""
    with psycopg.connect(database, options=session_options(SCHEMA)) as owner:
        owner.execute("ALTER TABLE events DISABLE TRIGGER append_only")
        owner.execute(
            "UPDATE events SET state = 'no JSON' WHERE originator_id LIKE %s AND originator_version = 1",
            (streams,),
        )
        owner.execute("DELETE FROM snapshots")


async def test_timer_that_was_due_before_the_read_model_had_it_fires_in_time(
    world: World,
) -> None:
    worker = world.worker()
    await world.begin("e", retry_policy=POLICY)
    await world.send("e", failure())
    world.now += 30 * SECOND
    assert await worker.fire(world.connection) == 0
    assert await worker.next_due_at(world.connection) is None
    assert await world.fire(worker, 3 * SECOND) == 0
    at = await worker.next_due_at(world.connection)
    assert at is not None
    assert await world.fire(worker, at - world.now) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_timer_fires_when_it_is_due_without_waiting_for_the_next_check(
    world: World, database: str, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.setattr(ownership, "POLL_INTERVAL", 600)
    worker, began, begin = world.worker(), time.monotonic(), world.now
    policy = POLICY.model_copy(update={"initial_delay": SECOND / 2})

    async def fail() -> None:
        await world.begin("e", retry_policy=policy)
        await world.send("e", failure())
        await world.follow()
        worker.wake.set()  # as the notification of the view does

    options = session_options(SCHEMA)
    async with await psycopg.AsyncConnection.connect(
        database, autocommit=True, options=options
    ) as connection:
        if known:
            await fail()
        running = asyncio.create_task(worker.run(connection))
        if not known:
            await asyncio.sleep(0.3)  # it has checked, and found nothing
            await fail()
        async with asyncio.timeout(60):
            while (await world.types("e")).count("started") < 2:
                assert not running.done(), running
                await asyncio.sleep(0.02)
                world.now = begin + (time.monotonic() - began) * SECOND
        await cancel(running)


async def test_more_timers_than_a_commit_fires_all_fire_at_the_same_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers_module, "TIMERS_AT_ONCE", 2)
    names, worker = [f"e-{n}" for n in range(5)], world.worker()
    await world.begin(*names, retry_policy=POLICY)
    for name in names:
        await world.send(name, failure())
    assert [await world.fire(worker, 10 * SECOND)] == [2]
    assert [await worker.fire(world.connection) for _ in range(3)] == [2, 1, 0]
    for name in names:
        assert (await world.types(name)).count("started") == 2


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (None, [4, 3]),
        ("event", [4, 2, 1]),
        ("UPDATE log_head SET id = id + 1", [4, 2, 1]),
        ("UPDATE access_head SET id = id + 1", [4, 2, 1]),
    ],
)
async def test_timers_fire_in_smaller_commits_while_others_write(
    world: World, monkeypatch: pytest.MonkeyPatch, others: Any, expected: list[int]
) -> None:
    """Commands, log lines, and reads, which are recorded, wait for each commit."""
    monkeypatch.setattr(throttle, "ALONE", 4)
    monkeypatch.setattr(throttle, "BESIDE_OTHERS", 2)
    append, commits = world.guarded_writer._store.append, []

    async def count_call(events: Sequence[EventRow], *more: Any, **of_bus: Any) -> int:
        if of_bus:
            return await append(events, *more, **of_bus)
        commits.append(len({event.stream for event in events}))
        if others == "event":
            await world.send("other", UpdateProgress(progress=len(commits)))
        elif others:
            await world.connection.execute(others)
        return await append(events, *more)

    names = [f"e-{n}" for n in range(7)]
    await world.begin("other", *names, retry_policy=POLICY)
    for name in names:
        await world.send(name, failure())
    monkeypatch.setattr(world.guarded_writer._store, "append", count_call)
    assert await world.fire(world.worker(), 10 * SECOND) == 7
    assert commits == expected


async def test_timer_that_failed_to_fire_is_fired_soon_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail_once(*_: Any) -> None:
        raise Overloaded

    worker = world.worker()
    await world.begin("e", retry_policy=POLICY)
    await world.send("e", failure())
    with monkeypatch.context() as patched:
        patched.setattr(GuardedWriter, "send_all", fail_once)
        await world.fire(worker, 10 * SECOND)
    assert (await world.types("e"))[-1] == "retry"
    await world.fire(worker, timers_module.SETTLE_TIME)
    assert (await world.types("e"))[-1] == "started"


async def test_retries_begin_after_their_delays_until_none_is_left(world: World) -> None:
    worker = world.worker()
    await world.begin("e", retry_policy=POLICY)
    for delay in (10, 20):
        await world.send("e", failure())
        assert await world.fire(worker, (delay - 1) * SECOND) == 0
        assert await world.fire(worker, SECOND) == 1
        assert (await world.types("e"))[-4:] == ["failed", "retry", "starting", "started"]
    await world.send("e", failure())
    state = await world.store.load("execution/e")
    assert state is not None
    assert state.state.status == "failed"
    assert await world.fire(worker, timedelta(days=1)) == 0


async def test_attempt_beyond_its_timeout_fails_and_is_retried(world: World) -> None:
    worker = world.worker()
    await world.begin("e", retry_policy=POLICY, timeout=30 * SECOND)
    assert await world.fire(worker, 29 * SECOND) == 0
    assert await world.fire(worker, SECOND) == 1
    assert (await world.types("e"))[3:] == ["failed", "retry"]
    events = await world.store.history("execution/e")
    assert b"EXECUTION_TIMEOUT" in events[3].data
    assert all('{"by":"system","correlation":"timer"' in row.meta for row in events[3:])


async def test_checkpoints_are_saved_automatically_while_something_happens(world: World) -> None:
    worker = world.worker()
    await world.begin("e", timeout=None)
    await world.send("e", UpdateProgress(progress=5))
    assert await world.fire(worker, 15 * MINUTE) == 1
    assert (await world.types("e"))[-1] == "checkpoint"
    assert await world.fire(worker, 15 * MINUTE) == 1  # nothing to save: it is postponed
    assert (await world.types("e")).count("checkpoint") == 1
    assert await world.fire(worker) == 0
    await world.send("e", UpdateProgress(progress=6))
    assert await world.fire(worker, 15 * MINUTE) == 1
    assert (await world.types("e")).count("checkpoint") == 2
    await world.fire(worker, timedelta(days=3))
    assert await world.fire(worker, timedelta(days=3)) == 0


async def test_attempt_without_news_times_out_in_time(world: World) -> None:
    """Its checkpoint, which has nothing to save, stays due."""
    worker = world.worker()
    await world.begin("e", timeout=50 * MINUTE)
    await world.send("e", UpdateProgress(progress=5))
    begin, looks = world.now, 0
    while (await world.types("e"))[-1] != "failed":
        at = await worker.next_due_at(world.connection)
        await world.fire(worker, max(at - world.now, timedelta()) if at else timedelta())
        looks += 1
        assert looks < 20
    assert (await world.types("e"))[3:] == ["progress", "checkpoint", "failed"]
    assert world.now - begin == 50 * MINUTE


async def test_timers_take_effect_once_with_two_workers_and_a_lagging_read_model(
    world: World,
) -> None:
    await world.begin(*(f"e-{n}" for n in range(50)), retry_policy=POLICY)
    for n in range(50):
        await world.send(f"e-{n}", failure())
    await world.follow()
    world.now += 10 * SECOND
    for worker in (world.worker(), world.worker(), world.worker()):
        assert await worker.fire(world.connection) == 50  # the read model does not move
    for n in range(50):
        assert (await world.types(f"e-{n}"))[3:] == ["failed", "retry", "starting", "started"]
    assert await world.fire(world.worker()) == 0


async def test_worker_does_not_fire_again_while_the_read_model_lags(
    world: World,
) -> None:
    worker = world.worker()
    await world.begin("e", retry_policy=POLICY)
    await world.send("e", failure())
    await world.follow()
    world.now += 10 * SECOND
    assert await worker.fire(world.connection) == 1
    assert await worker.fire(world.connection) == 0


async def test_ended_execution_has_no_timer(world: World) -> None:
    await world.begin("e", timeout=30 * SECOND)
    await world.send("e", CompleteExecution(success=True, output=None, summary=""))
    assert await world.fire(world.worker(), timedelta(days=1)) == 0
    cursor = await world.connection.execute("SELECT count(*) FROM timers")
    assert await cursor.fetchone() == (0,)


async def test_worker_fires_nothing_while_the_read_model_is_far_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers_module, "FARTHEST_BEHIND", 5)
    worker = world.worker()
    await world.begin("e", retry_policy=POLICY)
    await world.send("e", failure())
    await world.follow()
    await world.begin("f", "g")
    world.now += 10 * SECOND
    assert await worker.fire(world.connection) == 0
    assert await world.fire(worker) == 1


async def test_worker_skips_an_unreadable_execution(world: World, database: str) -> None:
    await world.begin("bad", "good", retry_policy=POLICY)
    for id_ in ("bad", "good"):
        await world.send(id_, failure())
    await world.follow()
    damage(database, "execution/bad")
    assert await world.fire(world.worker(), 10 * SECOND) == 2
    assert (await world.types("good"))[-1] == "started"
    assert (await world.types("bad"))[-1] == "retry"


async def test_rebuilt_read_model_fires_no_timer_twice(world: World, database: str) -> None:
    await world.begin(*(f"e-{n}" for n in range(20)), retry_policy=POLICY)
    for n in range(20):
        await world.send(f"e-{n}", failure())
    worker = world.worker()
    assert await world.fire(worker, 10 * SECOND) == 20
    await world.begin("f", retry_policy=POLICY)
    await world.send("f", failure())
    world.now += 10 * SECOND
    await rebuild(database, SCHEMA, Timers(), world.store)
    for fresh in (worker, world.worker()):
        await world.fire(fresh)
    for name in ("f", *(f"e-{n}" for n in range(20))):
        assert (await world.types(name))[3:] == ["failed", "retry", "starting", "started"]


@pytest.mark.parametrize("pause", [timedelta(), 4 * SECOND])
async def test_worker_finds_an_overdue_timer_behind_many_unreadable_executions(
    world: World, database: str, monkeypatch: pytest.MonkeyPatch, pause: timedelta
) -> None:
    """Also where a look at all timers takes longer than the time until the next one."""
    monkeypatch.setattr(timers_module, "TIMERS_AT_ONCE", 5)
    names = [f"bad-{number}" for number in range(40)]
    await world.begin(*names, retry_policy=POLICY)
    for name in names:
        await world.send(name, failure())
    world.now += SECOND
    await world.begin("late", retry_policy=POLICY)
    await world.send("late", failure())
    await world.follow()
    damage(database, "execution/bad-%")
    world.now += timedelta(days=3)
    worker, looks = world.worker(), 0
    while (await world.types("late"))[-1] != "started":
        await world.fire(worker, pause)
        looks += 1
        assert looks < 20


async def test_checkpoint_is_saved_soon_after_the_read_model_was_far_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    await world.begin("e", "f", retry_policy=POLICY)
    await world.send("e", failure())
    await world.send("f", UpdateProgress(progress=5))
    assert await world.fire(worker) == 0
    with monkeypatch.context() as patched:
        patched.setattr(timers_module, "FARTHEST_BEHIND", -1)
        for _ in range(60):
            assert await world.fire(worker, 15 * SECOND) == 0
    for _ in range(3):
        await world.fire(worker, 10 * SECOND)
    assert (await world.types("f"))[-1] == "checkpoint"


async def test_retry_is_found_behind_many_attempts_without_news(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their checkpoints, which have nothing to save, stay due, and they time out one after the other."""
    monkeypatch.setattr(timers_module, "TIMERS_AT_ONCE", 5)
    for number in range(40):
        await world.begin(f"idle-{number}", timeout=20 * MINUTE + number * SECOND)
    worker = world.worker()
    while await world.fire(worker, 16 * MINUTE):  # checkpoints are saved
        world.now -= 16 * MINUTE
    world.now -= 16 * MINUTE
    await world.begin("e", retry_policy=POLICY, timeout=None)
    await world.send("e", failure())
    world.now += 20 * MINUTE
    for _ in range(30):
        await world.fire(worker, SECOND / 2)
    assert (await world.types("e")).count("started") == 2


async def test_retry_fires_in_time_during_a_look_at_many_checkpoints(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers_module, "TIMERS_AT_ONCE", 5)
    await world.begin(*(f"idle-{number}" for number in range(60)), timeout=None)
    worker = world.worker()
    assert await world.fire(worker, 15 * MINUTE) == 5
    await world.begin("e", retry_policy=POLICY, timeout=None)
    await world.send("e", failure())
    assert await world.fire(worker, 9 * SECOND) == 5
    assert await world.fire(worker, SECOND) == 6
    assert (await world.types("e"))[-1] == "started"


async def test_timer_that_was_refused_is_not_fired_again_at_once(world: World) -> None:
    worker = world.worker()
    await world.begin("e", retry_policy=POLICY)
    await world.send("e", failure())
    await world.follow()
    await world.send("e", CancelExecution(reason="Too late"))
    world.now += 10 * SECOND
    for pause, fired in ((0, 1), (10, 0), (40, 0), (10, 1)):
        world.now += pause * SECOND
        assert await worker.fire(world.connection) == fired  # the read model does not move
    assert (await world.types("e"))[-1] == "cancelled"


async def test_timer_that_becomes_visible_after_it_was_due_fires_soon(world: World) -> None:
    worker = world.worker()
    await world.begin("e", retry_policy=POLICY)
    await world.send("e", failure())
    world.now += 12 * SECOND
    assert await worker.fire(world.connection) == 0  # the read model has not seen it yet
    assert await world.fire(worker, SECOND) == 1
