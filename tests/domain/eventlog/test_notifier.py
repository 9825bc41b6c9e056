"""Readers of a named log learn of commits by a notification after the commit, or by polling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from api.streaming.log.tail import Tail
from domain.eventlog.connection import notifications
from domain.eventlog.connection.notifications import Listener, Wake
from domain.eventlog.connection.notifier import Notifier
from domain.eventlog.store import Store
from domain.supervisor import run_parts
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.state_cache import ALONE_AFTER
from tests.support.sample_aggregate import (
    Begin,
    Raise,
    clock,
    codec,
    keyring,
    message,
    running_bus,
)

pytestmark = pytest.mark.anyio

SOON = 10
"""Seconds; each wait takes milliseconds."""


def named_log(conninfo: str) -> Store:
    return Store(conninfo, "executions", codec(), keyring(), log_name="north")


@asynccontextmanager
async def listening(conninfo: str) -> AsyncIterator[Wake]:
    """The event that each notification of the log sets."""
    listener = Listener(conninfo, "executions")
    heard = listener.subscribe("executions")
    async with run_parts([listener]):
        assert await heard.wait(SOON)  # it is set once connected
        yield heard


async def quiet(heard: Wake) -> None:
    """Wait until no more notifications come."""
    while await heard.wait(0.3):
        pass


async def test_commit_of_a_named_log_is_notified_however_it_is_written(database: str) -> None:
    async with listening(database) as heard:
        log = named_log(database)
        async with running_bus(log) as bus:
            await quiet(heard)
            for _ in range(ALONE_AFTER + 4):  # the last of them without the lock
                await bus.send(message("a", Raise() if await log.load("tally/a") else Begin()))
                assert await heard.wait(SOON)
        log = named_log(database)
        await log.open()
        writer = GuardedWriter(log, clock, lambda kind: f"{kind}-1", lambda: 0.5)
        await quiet(heard)
        await writer.send(message("a", Raise()))
        assert await heard.wait(SOON)
        await log.close()


async def test_transaction_of_a_named_log_sends_no_notification_itself(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Notifier, "start", lambda _: None)
    async with listening(database) as heard, running_bus(named_log(database)) as bus:
        await bus.send(message("a", Begin()))
        await bus.send(message("a", Raise()))
        assert not await heard.wait(0.5)


async def test_follower_polls_what_a_writer_committed_that_died_before_it_notified(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Notifier, "start", lambda _: None)
    log = named_log(database)
    monkeypatch.setattr(notifications, "LISTENING_POLL", 0.05)
    listener = Listener(database, "executions")
    pages = Tail(log, listener, "executions").pages(lambda: False)
    async with running_bus(log) as bus, run_parts([listener]):
        read: list[int] = []
        for count in range(1, 6):
            await bus.send(message("a", Raise() if count > 1 else Begin()))
            while len(read) < count:
                page = await asyncio.wait_for(anext(pages), SOON)
                read += [row.position for row in page.rows]
        assert read == [1, 2, 3, 4, 5]


async def test_notifier_notifies_once_after_reconnecting(
    database: str,
) -> None:
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE %s"
    async with listening(database) as heard, running_bus(named_log(database)) as bus:
        await bus.send(message("a", Begin()))
        await quiet(heard)
        with psycopg.connect(database, autocommit=True) as admin:
            gone = admin.execute(ended, ("SELECT pg_notify(channel, %",)).fetchall()
        assert gone == [(True,)]
        await bus.send(message("a", Raise()))
        assert await heard.wait(SOON)


async def test_commits_in_quick_succession_share_a_notification(database: str) -> None:
    sent: list[str] = []
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("LISTEN executions")
        notifier = Notifier(database, "executions", apart=True)
        notifier.start()
        await asyncio.sleep(0.5)
        for _ in range(50):
            with notifier.notifying(["event"]):
                pass
        await asyncio.sleep(0.5)
        await notifier.stop()
        sent += [each.channel for each in admin.notifies(timeout=0.5)]
    assert sent == ["executions"]
