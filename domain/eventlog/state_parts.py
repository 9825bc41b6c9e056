"""What a state is made of, as the rows of one query: a snapshot, the events after it, a data key."""

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
"""A row with the columns of an event; a snapshot has no type, nor has a wrapped key, of version 0."""
VERSION, STREAM, TYPE, META, DATA = 1, 3, 4, 5, 6
BY_VERSION = itemgetter(VERSION)
PAGE_BYTES = 1024 * 1024
"""A page of a stream ends with the event that reaches this."""


def question_columns(
    streams: Iterable[str], locked: Iterable[str], *numbers: Iterable[int]
) -> tuple[Array, ...]:
    """The columns of a question: streams, numbers of each, and whether its key is wanted."""
    streams, without_key = list(streams), set(locked)
    return (
        array("text", streams),
        *(array("bigint", list(column)) for column in numbers),
        array("boolean", [stream in without_key for stream in streams]),
    )


def by_stream(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """The parts of each stream, in their order."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part[STREAM], []).append(part)
    return found


def wrapped_keys_of(
    parts: Mapping[str, Sequence[Part]], streams: Iterable[str]
) -> list[tuple[str, bytes]]:
    """The keys among the parts, which come before all others, with their streams."""
    firsts = ((stream, parts[stream][0]) for stream in streams if parts.get(stream))
    return [(stream, part[DATA]) for stream, part in firsts if part[VERSION] == 0]


def destroy_erased(parts: Mapping[str, Sequence[Part]], codec: Codec, keyring: Keyring) -> set[str]:
    """The streams that were erased, by what was read of them: their keys are gone here, too."""
    erasing = codec.erasing
    erased = {s for s, found in parts.items() if any(part[TYPE] in erasing for part in found)}
    if erased:
        keyring.destroy(erased)
    return erased


def event(part: Part) -> EventRow | None:
    """The row of an event, if it is one."""
    return None if part[TYPE] is None else EventRow(*part)


def snapshot(part: Part) -> Snapshot | None:
    """The snapshot, if it is one."""
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
    """Keep a snapshot of each state that took many events: none was there, or none that is whole.

    Not within a transaction of the caller's, which an error would undo.
    """
    long = [s for s, found in parts.items() if len(found) >= SNAPSHOT_EVERY and s in states]
    if not long or connection.info.transaction_status != TransactionStatus.IDLE:
        return
    try:
        snapshots = [
            codec.take_snapshot(stream, states[stream], keys.get(stream)) for stream in long
        ]
        await connection.execute(STORE_SNAPSHOTS, columns(SNAPSHOT_COLUMNS, snapshots))
    except Exception as error:  # noqa: BLE001 - they save time, later: no read fails for want of one
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
    """What a query about streams found, in the order of versions, which the statement does not promise; `cold` where none
    of them is known. Of a stream that is `unreadable` nothing is found.
    """
    values = (*values, codec.shape)
    whole = partial(_have_beginnings, streams) if cold else None
    found = await fetch_of_streams(
        connection, query, values, streams, are_whole=whole, unreadable=unreadable
    )
    return sorted((p for p in found if p[STREAM] not in (unreadable or ())), key=BY_VERSION)


def _have_beginnings(streams: Collection[str], parts: Iterable[Part]) -> bool:
    """Whether the first event of each stream is among the parts."""
    begun = {part[STREAM] for part in parts if part[VERSION] == 1 and part[TYPE] is not None}
    return begun.issuperset(streams)


async def read_following(
    connection: AsyncConnection,
    stream_versions: Iterable[tuple[str, int]],
    limit: int,
    unreadable: dict[str, Unreadable] | None = None,
) -> dict[tuple[str, int], list[EventRow]]:
    """For each stream and version what follows there: at most `limit`, none after `PAGE_BYTES`. Of what is `unreadable`
    something may be missing.
    """
    asked = list(dict.fromkeys(stream_versions))
    streams, versions = [stream for stream, _ in asked], [after for _, after in asked]
    values, bounds = (streams, versions, limit, PAGE_BYTES), bounds_after(asked, limit)
    found: dict[tuple[str, int], list[EventRow]] = {stream_version: [] for stream_version in asked}
    for nth, *row in await fetch_of_streams(
        connection, FOLLOWING, values, streams, versions=bounds, unreadable=unreadable
    ):
        found[asked[nth - 1]].append(EventRow(*row))
    return found


def fold_parts(
    codec: Codec, versioned: Versioned[Any] | None, parts: Iterable[Part], key: DataKey | None
) -> Versioned[Any] | None:
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
    """The customer and the provider that one of the events names; each names both."""
    for part in parts:
        with suppress(TypeError, ValueError, AttributeError):  # not what it should be
            meta = orjson.loads(part[META])
            return meta.get("customer"), meta.get("provider")
    return None, None


def _maker(parts: Sequence[Part]) -> str | None:
    """Who began a stream that is of no party, if its first event can be read."""
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
    """The state after events of one stream.

    Raises:
        Damaged: they do not follow on each other, as one before them is missing or was changed.
    """
    try:
        return replay(versioned, events)
    except Exception as error:  # noqa: BLE001 - an event never refuses: something is not as it was
        stream, version = events[-1].stream, events[-1].version
        raise Damaged(
            f"The events of {stream} up to version {version} do not follow on each other.",
            reason=reason(error),
            stream=stream,
            version=version,
        ) from None


def runs(versions: Sequence[int]) -> Iterator[list[int]]:
    """Versions that grow, in parts of which each has no gap in which a snapshot lies."""
    run: list[int] = []
    for version in versions:
        if run and version - run[-1] > SNAPSHOT_EVERY:
            yield run
            run = []
        run.append(version)
    if run:
        yield run
