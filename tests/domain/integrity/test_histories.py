"""Histories of whole streams, read through the library: all events in order, up to a position, in pages."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from eventsourcing.persistence import OperationalError

from domain.errors import Overloaded
from domain.execution.events.progress import ProgressUpdated
from domain.integrity import histories
from domain.integrity.histories import Histories
from tests.support.event_writer import Happening, Log, opened, some

pytestmark = pytest.mark.anyio


async def write_streams(conninfo: str) -> int:
    """Six streams of 1 to 11 events."""
    async with opened(conninfo) as store:
        log = Log(store)
        await log.write(some(6))
        for number in range(1, 6):
            changes = [ProgressUpdated(progress=value) for value in range(2 * number)]
            await log.write([Happening(f"e-{number}", change) for change in changes])
        return log.position


async def read(conninfo: str, until: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {f"execution/e-{number}": [] for number in range(6)}
    reader = Histories(conninfo, "executions")
    try:
        async with aclosing(reader.pages(list(found), until)) as pages:
            async for page in pages:
                for row in page:
                    assert row.position <= until
                    found[row.stream].append(row.version)
    finally:
        reader.close()
    return found


@pytest.mark.parametrize(("events", "streams", "first"), [(500, 10, 50), (3, 2, 2), (1, 1, 1)])
async def test_every_stream_is_read_once_and_in_order_whatever_the_page_size(
    database: str, monkeypatch: pytest.MonkeyPatch, events: int, streams: int, first: int
) -> None:
    monkeypatch.setattr(histories, "EVENTS", events)
    monkeypatch.setattr(histories, "STREAMS", streams)
    monkeypatch.setattr(histories, "FIRST", first)
    head = await write_streams(database)
    found = await read(database, head)
    assert [len(versions) for versions in found.values()] == [1, 3, 5, 7, 9, 11]
    assert all(versions == list(range(1, len(versions) + 1)) for versions in found.values())


async def test_events_beyond_the_position_are_left_out(database: str) -> None:
    await write_streams(database)
    found = await read(database, 8)
    assert sum(len(versions) for versions in found.values()) == 8


def test_unreachable_database_is_reported_as_overloaded() -> None:
    with pytest.raises(Overloaded):
        Histories("host=/nowhere dbname=none", "executions")


async def test_connection_lost_during_a_read_is_reported_as_overloaded(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Histories(database, "executions")

    def lose_connection(*_: object) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(reader._recorder, "select_first_events", lose_connection)
    try:
        with pytest.raises(Overloaded):
            async with aclosing(reader.pages(["execution/e-1"], 1)) as pages:
                await anext(pages)
    finally:
        reader.close()
