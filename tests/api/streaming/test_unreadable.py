"""An event that cannot be decrypted is sent as unreadable; other events follow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
import psycopg
import pytest
import structlog

from api.streaming.encoding import ENCODERS, SSE
from api.streaming.filter import Filter
from api.streaming.frames import EVENTS, EVENTS_WITH_STATE, WATCH, Format
from api.streaming.log.entry import Entry
from api.streaming.log.loader import Loader
from api.streaming.log.stored_log import StoredLog
from api.streaming.topic import KnownStream, Topic
from domain.damage import REPORTS
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey, Vault
from tests.support.event_writer import MASTER_KEY, NOON, completed, new_store, started
from tests.support.hub import Line, until
from tests.support.progress_events import progressed
from tests.support.watched_log import LOGS, Running, messages_of, running

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def clear_damage_reports() -> None:
    REPORTS.forget()


async def damage_ciphertext(house: Running, execution: str) -> None:
    """Replace the result of an execution by one that is sealed with another stream's key."""
    other = DataKey(b"x" * 32, f"execution/{execution}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(house.store.keyring, "get_or_create", lambda _: other)
        await house.log.write([completed(execution)])


def damage_key(conninfo: str, house: Running, execution: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SET search_path TO executions")
        connection.execute(
            "UPDATE data_keys SET wrapped = %b WHERE originator_id = %s",
            (b"\x01" * 40, f"execution/{execution}"),
        )
    house.store.keyring.forget()


def topic(format_: Format, stream: str = "") -> Topic:
    return Topic(ENCODERS[format_, SSE], stream, Filter())


def frames(line: Line) -> Iterator[dict[str, object]]:
    for data in re.findall(rb"^data: (.*)$", line.written, re.MULTILINE):
        frame = orjson.loads(data)
        if "execution" in frame or "subject" in frame:
            yield frame


@pytest.mark.parametrize("format_", [EVENTS, EVENTS_WITH_STATE, WATCH])
@pytest.mark.parametrize("live", [True, False])
async def test_damaged_ciphertext_is_sent_as_unreadable_and_other_events_follow(
    database: str, format_: Format, live: bool
) -> None:
    async with running(database) as house:
        await house.log.write([*started("e-0"), completed("e-1", "sealed with its key")])
        line = await house.connect(topic(format_)) if live else Line()
        before = REPORTS.count
        with structlog.testing.capture_logs() as logs:
            await damage_ciphertext(house, "e-0")
            await house.log.write(progressed(50, execution="e-2"))
            if not live:
                await house.hub.head()
                house.hub.connect(line, topic(format_), 3, None).start()
            await until(
                lambda: b"execution.progress" in line.written or b'"progress":50' in line.written
            )
        received = list(frames(line))
        bad = [frame for frame in received if frame["position"] == 7]
        assert bad
        assert all(frame["unreadable"] is True for frame in bad)
        if format_ is WATCH:
            assert {frame["type"] for frame in bad} >= {"status_changed", "completed"}
            assert bad[-1]["result"] is None
        else:
            assert [frame["data"] for frame in bad] == [None]
        assert [frame for frame in received if "unreadable" in frame] == bad
        assert [log["event"] for log in logs] == ["an event cannot be opened"]
        assert REPORTS.count == before + 1


async def test_damaged_key_makes_only_events_of_its_execution_unreadable(database: str) -> None:
    async with running(database) as house:
        await house.log.write([completed("e-0"), completed("e-1")])
        damage_key(database, house, "e-0")
        await house.hub.head()
        with structlog.testing.capture_logs() as logs:
            raw, watcher = Line(), Line()
            versioned = await house.hub.loader.state("execution/e-0")
            house.hub.connect(raw, topic(EVENTS), 0, None).start()
            house.hub.connect(
                watcher, topic(WATCH, "execution/e-0"), 0, KnownStream.of(versioned)
            ).start()
            await until(lambda: raw.positions == [1, 2, 3, 4, 5])
            await until(lambda: b"event: completed" in watcher.written)
        assert [frame["position"] for frame in frames(raw) if "unreadable" in frame] == [4]
        assert "a data key cannot be unwrapped" in [log["event"] for log in logs]
        assert [log["event"] for log in logs].count("a data key cannot be unwrapped") == 1


async def test_log_line_that_cannot_be_decrypted_is_sent_as_unreadable(database: str) -> None:
    async with running(database) as house:
        line = await house.connect(LOGS)
        await house.tell("e-0", "whole")
        await until(lambda: messages_of(line) == ["whole"])
        keys = house.hub.loader.keys

        async def another(streams: Iterable[str]) -> Any:
            return {stream: DataKey(b"x" * 32, stream) for stream in streams}

        with structlog.testing.capture_logs():
            house.hub.loader.keys = another  # type: ignore[method-assign]
            await house.tell("e-0", "damaged")
            await until(lambda: line.written.count(b"event: log") == 2)
            house.hub.loader.keys = keys  # type: ignore[method-assign]
        await house.tell("e-0", "whole again")
        await until(lambda: messages_of(line) == ["whole", "whole again"])
        assert line.written.count(b'"message":null') == 1
        assert line.written.count(b'"unreadable":true') == 1
        assert b"erased" not in line.written


@pytest.mark.parametrize("kind", ["execution", "order"])
def test_erasure_read_by_the_tail_removes_the_cached_key_of_its_stream(kind: str) -> None:
    """The key is removed before the event is published, without the periodic check for destroyed keys."""
    store = new_store("")
    streams = [f"{kind}/gone", f"{kind}/here"]
    keys = store.keyring.learn((each, Vault(MASTER_KEY).make(each)[1]) for each in streams)
    types = (f"{kind}.created", f"{kind}.erased")
    entries = [
        Entry(EventRow(n, n, NOON, streams[0], type_, "{}", b"{}"), None)
        for n, type_ in enumerate(types, 1)
    ]
    assert not Loader(StoredLog(store)).destroy_erased(entries[:1])
    assert Loader(StoredLog(store)).destroy_erased(entries)
    assert [keys[each].destroyed for each in streams] == [True, False]
