"""Streams as they were, many at once: states at versions, and what came after a version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from typing import Any

from psycopg import AsyncConnection

from domain.eventlog.append import COLUMNS
from domain.eventlog.codec import Codec, Stored
from domain.eventlog.snapshots import SNAPSHOT_EVERY, Snapshot
from domain.eventlog.store import Store
from domain.model import Held, replay

AT_ONCE = 200
PAGE_BYTES = 1024 * 1024
"""A page of a stream ends with the event that reaches this."""

SNAPSHOTS = """SELECT s.* FROM unnest(%b::text[], %b::bigint[]) AS wanted (stream, version)
    CROSS JOIN LATERAL (
        SELECT originator_id, originator_version, position, at, state FROM snapshots
        WHERE originator_id = wanted.stream AND originator_version <= wanted.version
            AND shape = %b
        ORDER BY originator_version DESC LIMIT 1) AS s"""
BETWEEN = """SELECT e.* FROM unnest(%b::text[], %b::bigint[], %b::bigint[])
    AS wanted (stream, after, until) CROSS JOIN LATERAL (
        SELECT notification_id, originator_version, at, originator_id, topic, meta, state
        FROM events WHERE originator_id = wanted.stream AND originator_version > wanted.after
            AND originator_version <= wanted.until ORDER BY originator_version) AS e
    ORDER BY e.originator_id, e.originator_version"""
FOLLOWING = f"""SELECT wanted.nth, {COLUMNS} FROM unnest(%b::text[], %b::bigint[])
    WITH ORDINALITY AS wanted (stream, after, nth) CROSS JOIN LATERAL (
        SELECT {COLUMNS}, sum(octet_length(state)) OVER (ORDER BY originator_version)
            - octet_length(state) AS before
        FROM events WHERE originator_id = wanted.stream AND originator_version > wanted.after
        ORDER BY originator_version LIMIT %b) AS e
    WHERE e.before < %b ORDER BY wanted.nth, e.originator_version"""
VERSIONS = """SELECT wanted.stream, wanted.position, (
        SELECT coalesce(max(originator_version), 0) FROM events
        WHERE originator_id = wanted.stream AND notification_id <= wanted.position)
    FROM unnest(%b::text[], %b::bigint[]) AS wanted (stream, position)"""


class Unreadable(Exception):
    """What is kept of a stream is none that this program knows: a newer one may have written it."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.stream = stream


async def states_at(
    connection: AsyncConnection, codec: Codec, versions: Mapping[str, int]
) -> dict[str, Held[Any]]:
    """The state of each stream at a version of its own, sealed fields as `Ciphertext`.

    Raises:
        Unreadable: there is no such state, because of what one of the streams holds.
    """
    streams, ends = list(versions), list(versions.values())
    cursor = await connection.execute(SNAPSHOTS, (streams, ends, codec.shape), binary=True)
    held: dict[str, Held[Any]] = {}
    for row in await cursor.fetchall():
        with _read(row[0]):
            held[row[0]] = codec.thaw(Snapshot(*row))
    begins = [held[stream].version if stream in held else 0 for stream in streams]
    cursor = await connection.execute(BETWEEN, (streams, begins, ends), binary=True)
    rows = [Stored(*row) for row in await cursor.fetchall()]
    for stream, tail in groupby(rows, key=attrgetter("stream")):
        with _read(stream):
            state = replay(held.get(stream), (codec.decode(row) for row in tail))
            assert state is not None
            held[stream] = state
    return held


@contextmanager
def _read(stream: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise Unreadable(stream) from error


async def states_along(store: Store, stream: str, versions: Iterable[int]) -> dict[int, Held[Any]]:
    """The state of a stream after each of some versions, sealed fields as `Ciphertext`.

    Where they lie far apart it begins again at a snapshot, so that no version costs more events than
    there are between two of those.
    """
    found: dict[int, Held[Any]] = {}
    wanted = set(versions)
    for run in _runs(sorted(wanted)):
        async with store.reader() as connection:
            held = (await states_at(connection, store.codec, {stream: run[0]}))[stream]
        found[held.version] = held
        while held.version < run[-1]:
            for row in await store.history(stream, held.version, run[-1], AT_ONCE):
                after = replay(held, [store.codec.decode(row)])
                assert after is not None
                held = after
                if held.version in wanted:
                    found[held.version] = held
    return found


def _runs(versions: Sequence[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for version in versions:
        if run and version - run[-1] > SNAPSHOT_EVERY:
            yield run
            run = []
        run.append(version)
    if run:
        yield run


async def following(
    store: Store, places: Sequence[tuple[str, int]], limit: int
) -> dict[tuple[str, int], list[Stored]]:
    """For each stream and version the next events of that stream, in order: at most `limit`, and none
    after `PAGE_BYTES`.
    """
    wanted = list(dict.fromkeys(places))
    async with store.reader() as connection:
        cursor = await connection.execute(
            FOLLOWING,
            ([stream for stream, _ in wanted], [after for _, after in wanted], limit, PAGE_BYTES),
            binary=True,
        )
        rows = await cursor.fetchall()
    found: dict[tuple[str, int], list[Stored]] = {place: [] for place in wanted}
    for nth, *row in rows:
        found[wanted[nth - 1]].append(Stored(*row))
    return found


async def versions_at(
    store: Store, places: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """For each stream and position of the log the version it had there, 0 before its first event."""
    wanted = list(dict.fromkeys(places))
    async with store.reader() as connection:
        cursor = await connection.execute(
            VERSIONS,
            ([stream for stream, _ in wanted], [position for _, position in wanted]),
            binary=True,
        )
        return {(row[0], row[1]): row[2] for row in await cursor.fetchall()}
