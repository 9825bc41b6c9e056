"""Compares snapshots with the events, and makes them again from the events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

from domain.errors import Damaged
from domain.eventlog.archive.archived_queries import fetch_of_streams
from domain.eventlog.codec import SNAPSHOT_EVERY, Snapshot, encode_state
from domain.eventlog.encryption import DataKey
from domain.eventlog.queries import SNAPSHOT_UNDAMAGED
from domain.eventlog.state_parts import apply_events
from domain.eventlog.store import Store
from domain.integrity.fault import Fault
from domain.integrity.histories import Histories
from domain.model import Versioned

PART = "snapshots"
STREAMS = 500

# Snapshots of an earlier build have no digest: they are never read, and so are no fault.
NEXT = f"""SELECT s.originator_id, s.originator_version, e.notification_id IS NOT NULL
        AND s.position = e.notification_id, coalesce({SNAPSHOT_UNDAMAGED}, false)
    FROM snapshots AS s LEFT JOIN events AS e USING (originator_id, originator_version)
    WHERE s.digest IS NOT NULL AND s.shape = %b
        AND (s.originator_id, s.originator_version) > (%b, %b)
    ORDER BY s.originator_id, s.originator_version LIMIT %b"""
READ = """SELECT originator_id, originator_version, position, at, state FROM snapshots
    WHERE originator_id = %b AND originator_version = %b AND shape = %b"""
LONG = """SELECT originator_id FROM events WHERE originator_version = %b AND originator_id > %b
    ORDER BY originator_id LIMIT %b"""
FORGET = "DELETE FROM snapshots"

OnProgress = Callable[[int], None]
"""A callback with the number of streams that are done."""


async def snapshot_faults(store: Store, histories: Histories) -> AsyncIterator[Fault | None]:
    """For each snapshot its fault, or None: it is damaged, or differs from the events."""
    last: tuple[str, int] = ("", 0)
    stream, undamaged = "", list[int]()
    while True:
        async with store.reader() as connection:
            values = (store.codec.shape, *last, STREAMS)
            cursor = await connection.execute(NEXT, values, binary=True)
            streams = [row[0] for row in await cursor.fetchall()]
            rows = await fetch_of_streams(connection, NEXT, values, streams)
        for name, version, placed, intact in rows:
            if name != stream:
                async for fault in _compare_stream(store, histories, stream, undamaged):
                    yield fault
                stream, undamaged = name, []
            if intact:
                undamaged.append(version)
            else:
                what = "is not as it was kept" if placed else "is of no event that is in the log"
                yield Fault(PART, f"{name} at version {version}", what)
        if not rows:
            break
        last = rows[-1][:2]
    async for fault in _compare_stream(store, histories, stream, undamaged):
        yield fault


async def _compare_stream(
    store: Store, histories: Histories, stream: str, versions: Iterable[int]
) -> AsyncIterator[Fault | None]:
    wanted = set(versions)
    if not wanted:
        return
    key = (await store.keys([stream]))[stream]
    # Content of a destroyed key cannot be opened, so nothing can be compared.
    if store.keyring.is_destroyed(stream):
        for _ in wanted:
            yield None
        return
    async with aclosing(_fold_stream(store, histories, stream, key)) as states:
        async for versioned in states:
            if versioned.version in wanted:
                wanted.discard(versioned.version)
                yield await _compare(store, stream, versioned, key)
            if not wanted:
                return
    for version in sorted(wanted):
        what = "cannot be compared: the events before it cannot be read"
        yield Fault(PART, f"{stream} at version {version}", what)


async def _compare(
    store: Store, stream: str, versioned: Versioned[Any], key: DataKey | None
) -> Fault | None:
    version = versioned.version
    async with store.reader() as connection:
        values = (stream, version, store.codec.shape)
        rows = await (await connection.execute(READ, values, binary=True)).fetchall()
    for row in rows:
        try:
            kept = store.codec.restore(Snapshot(*row), key)
            differs = kept._replace(size=versioned.size) != versioned
        except Damaged:
            differs = True
        if differs:
            return Fault(PART, f"{stream} at version {version}", "differs from the events")
    return None


async def rebuild_snapshots(
    store: Store, histories: Histories, on_progress: OnProgress = lambda _: None
) -> int:
    """Drop all snapshots, and make them again from the events; return the number of streams.

    The service may be running meanwhile, and folds events where there is no snapshot. Sealed fields stay sealed, so no key
    is needed. A damaged stream gets no snapshot after its damage.
    """
    async with store.reader() as connection:
        await connection.execute(FORGET)
    last, done = "", 0
    while True:
        async with store.reader() as connection:
            cursor = await connection.execute(LONG, (SNAPSHOT_EVERY, last, STREAMS), binary=True)
            streams = [row[0] for row in await cursor.fetchall()]
        if not streams:
            return done
        for stream in streams:
            async with aclosing(_fold_stream(store, histories, stream, None)) as states:
                async for versioned in states:
                    if versioned.version % SNAPSHOT_EVERY == 0:
                        await store.store_snapshots([_snapshot(store, stream, versioned)])
            done += 1
            on_progress(done)
        last = streams[-1]


async def _fold_stream(
    store: Store, histories: Histories, stream: str, key: DataKey | None
) -> AsyncGenerator[Versioned[Any]]:
    """The states of a stream after each event, up to the first event that cannot be read."""
    versioned: Versioned[Any] | None = None
    async with aclosing(histories.pages([stream])) as pages:
        async for page in pages:
            for row in page:
                try:
                    versioned = apply_events(versioned, [store.codec.decode(row, key)])
                except Damaged:
                    return
                assert versioned is not None
                yield versioned


def _snapshot(store: Store, stream: str, versioned: Versioned[Any]) -> Snapshot:
    version_position_time = versioned.version, versioned.position, versioned.at
    return Snapshot(
        stream, *version_position_time, encode_state(versioned.state), store.codec.shape
    )
