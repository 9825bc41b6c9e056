"""The parts of a state, as rows of one query: a data key, a snapshot, and the events after it. Also a page of the events of one
stream, for streams.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import Any

import orjson
import structlog
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from domain.damage import reason
from domain.errors import Damaged, Unreadable
from domain.eventlog.archive.archived_queries import bounds_after, fetch_of_streams
from domain.eventlog.codec import SNAPSHOT_EVERY, Codec, EventRow, Snapshot
from domain.eventlog.connection.pg_arrays import Array, array, columns
from domain.eventlog.encryption import DataKey
from domain.eventlog.keyring import Keyring
from domain.eventlog.queries import FOLLOWING, SNAPSHOT_COLUMNS, STORE_SNAPSHOTS
from domain.model import Recorded, Versioned, replay

log = structlog.get_logger()

Part = tuple[Any, ...]
"""A row with the columns of an event. A snapshot has no type; a wrapped key has no type, and version 0."""
VERSION, STREAM, TYPE, META, DATA = 1, 3, 4, 5, 6
BY_VERSION = itemgetter(VERSION)
PAGE_BYTES = 1024 * 1024
"""Bytes of events in a page of a stream; the page ends with the event that reaches them."""


def question_columns(
    streams: Iterable[str], locked: Iterable[str], *numbers: Iterable[int]
) -> tuple[Array, ...]:
    """The values of a query for parts: streams, numbers for each, and whether to return its key, for those in `locked`."""
    streams, without_key = list(streams), set(locked)
    return (
        array("text", streams),
        *(array("bigint", list(column)) for column in numbers),
        array("boolean", [stream in without_key for stream in streams]),
    )


def by_stream(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """The parts grouped by stream, in their order."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part[STREAM], []).append(part)
    return found


def wrapped_keys_of(
    parts: Mapping[str, Sequence[Part]], streams: Iterable[str]
) -> list[tuple[str, bytes]]:
    """The wrapped keys among the parts, with their streams. A key is the first part of its stream."""
    firsts = ((stream, parts[stream][0]) for stream in streams if parts.get(stream))
    return [(stream, part[DATA]) for stream, part in firsts if part[VERSION] == 0]


def destroy_erased(parts: Mapping[str, Sequence[Part]], codec: Codec, keyring: Keyring) -> set[str]:
    """Destroy the keys of streams among whose parts is an erasing event; return these streams."""
    erasing = codec.erasing
    erased = {s for s, found in parts.items() if any(part[TYPE] in erasing for part in found)}
    if erased:
        keyring.destroy(erased)
    return erased


def event(part: Part) -> EventRow | None:
    """The part as the row of an event; None for other parts."""
    return None if part[TYPE] is None else EventRow(*part)


def snapshot(part: Part) -> Snapshot | None:
    """The part as a snapshot; None for other parts."""
    position, version, at, stream, type_, _, state = part
    if type_ is not None or not version:
        return None
    return Snapshot(stream, version, position, at, state)


async def store_missing_snapshots(
    connection: AsyncConnection,
    codec: Codec,
    parts: Mapping[str, Sequence[Part]],
    states: Mapping[str, Versioned[Any]],
    keys: Mapping[str, DataKey],
) -> None:
    """Store a snapshot of each state that took `SNAPSHOT_EVERY` events or more, as an undamaged one was missing.

    Does nothing within a transaction of the caller, which an error would abort.
    """
    long = [s for s, found in parts.items() if len(found) >= SNAPSHOT_EVERY and s in states]
    if not long or connection.info.transaction_status != TransactionStatus.IDLE:
        return
    try:
        snapshots = [
            codec.take_snapshot(stream, states[stream], keys.get(stream)) for stream in long
        ]
        await connection.execute(STORE_SNAPSHOTS, columns(SNAPSHOT_COLUMNS, snapshots))
    except Exception as error:  # noqa: BLE001 - snapshots only save time, so no read fails without them
        log.warning("no snapshots kept", streams=long, reason=reason(error))


async def read_parts(
    connection: AsyncConnection,
    codec: Codec,
    query: str,
    values: Iterable[Any],
    streams: Collection[str],
    *,
    cold: bool = True,
    unreadable: dict[str, Unreadable] | None = None,
) -> list[Part]:
    """Run a query for the parts of streams; return them sorted by version.

    `cold`: no state of any of the streams is cached. Then the archive is not queried where the table has the first event of
    each stream. Streams whose archived events cannot be read are added to `unreadable`, and left out.
    """
    values = (*values, codec.shape)
    whole = partial(_have_beginnings, streams) if cold else None
    found = await fetch_of_streams(
        connection, query, values, streams, are_whole=whole, unreadable=unreadable
    )
    return sorted((p for p in found if p[STREAM] not in (unreadable or ())), key=BY_VERSION)


def _have_beginnings(streams: Collection[str], parts: Iterable[Part]) -> bool:
    """Whether the parts have the first event of each stream."""
    begun = {part[STREAM] for part in parts if part[VERSION] == 1 and part[TYPE] is not None}
    return begun.issuperset(streams)


async def read_following(
    connection: AsyncConnection,
    stream_versions: Iterable[tuple[str, int]],
    limit: int,
    unreadable: dict[str, Unreadable] | None = None,
) -> dict[tuple[str, int], list[EventRow]]:
    """For each stream and version, the events after that version: at most `limit`, and none after `PAGE_BYTES`.

    Streams whose archived events cannot be read are added to `unreadable`, and some of their events may be missing.
    """
    distinct = list(dict.fromkeys(stream_versions))
    streams, versions = [stream for stream, _ in distinct], [after for _, after in distinct]
    values, bounds = (streams, versions, limit, PAGE_BYTES), bounds_after(distinct, limit)
    found: dict[tuple[str, int], list[EventRow]] = {
        stream_version: [] for stream_version in distinct
    }
    for nth, *row in await fetch_of_streams(
        connection, FOLLOWING, values, streams, versions=bounds, unreadable=unreadable
    ):
        found[distinct[nth - 1]].append(EventRow(*row))
    return found


def fold_parts(
    codec: Codec, versioned: Versioned[Any] | None, parts: Iterable[Part], key: DataKey | None
) -> Versioned[Any] | None:
    """Fold the parts of one stream onto a cached state, or None.

    Raises:
        Damaged: a part cannot be read; the error has the parties and the maker of the stream.
    """
    before, parts, events = versioned, list(parts), []
    try:
        for part in parts:
            if (row := event(part)) is not None:
                events.append(codec.decode(row, key))
            elif (frozen := snapshot(part)) is not None:
                versioned = codec.restore(frozen, key)
        return apply_events(versioned, events)
    except Damaged as error:
        error.parties = before.state.parties if before else _parties(parts)
        error.maker = getattr(before.state, "maker", None) if before else _maker(parts)
        raise


def _parties(parts: Iterable[Part]) -> tuple[str | None, str | None]:
    """The customer and the provider, from the first event whose `meta` can be read: all events name both."""
    for part in parts:
        with suppress(TypeError, ValueError, AttributeError):  # damaged, or not an event
            meta = orjson.loads(part[META])
            return meta.get("customer"), meta.get("provider")
    return None, None


def _maker(parts: Sequence[Part]) -> str | None:
    """The actor of the first event of a stream without parties, if that event can be read."""
    if _parties(parts) != (None, None):
        return None
    for part in parts:
        with suppress(TypeError, ValueError, AttributeError):
            if part[VERSION] == 1 and isinstance(by := orjson.loads(part[META]).get("by"), str):
                return by
    return None


def apply_events(
    versioned: Versioned[Any] | None, events: Sequence[Recorded]
) -> Versioned[Any] | None:
    """Apply events of one stream to a state.

    Raises:
        Damaged: an event does not fit the state, as one before it is missing or was changed.
    """
    try:
        return replay(versioned, events)
    except Exception as error:  # noqa: BLE001 - `apply` never refuses an undamaged event
        stream, version = events[-1].stream, events[-1].version
        raise Damaged(
            f"The events of {stream} up to version {version} do not follow on each other.",
            reason=reason(error),
            stream=stream,
            version=version,
        ) from None


def runs(versions: Sequence[int]) -> Iterator[list[int]]:
    """Split ascending versions into runs without a gap of more than `SNAPSHOT_EVERY`, within which a snapshot lies."""
    run: list[int] = []
    for version in versions:
        if run and version - run[-1] > SNAPSHOT_EVERY:
            yield run
            run = []
        run.append(version)
    if run:
        yield run
