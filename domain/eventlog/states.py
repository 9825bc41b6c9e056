"""Loads states from snapshots and events: at present, at a version, or as of a position or time; several in one query.

The query (`queries.py`) finds the version of a time, and leaves out a snapshot that is damaged or of another form; the
parts that it finds are folded by `state_parts.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.budget import Budget
from domain.damage import report
from domain.errors import Damaged, Unreadable
from domain.eventlog.archive.archived_queries import fetch_of_streams
from domain.eventlog.codec import Codec, EventRow
from domain.eventlog.encryption import DataKey
from domain.eventlog.keyring import Keyring
from domain.eventlog.queries import (
    KEYS,
    LOAD,
    LOAD_AT_POSITION,
    LOAD_AT_TIME,
    NEWEST,
    VERSIONS_AT,
    WITH_HEAD,
)
from domain.eventlog.state_parts import (
    Part,
    apply_events,
    by_stream,
    destroy_erased,
    fold_parts,
    question_columns,
    read_following,
    read_parts,
    runs,
    store_missing_snapshots,
    wrapped_keys_of,
)
from domain.model import Recorded, Versioned

EVENTS_AT_ONCE = 200
"""Events that `StateLoader.along` reads in one page."""
COLD = -1
"""The cached version of a stream without a cached state."""

PositionOrTime = int | datetime
Reader = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
"""Lends a connection for a few seconds."""


class LoadedState(NamedTuple):
    """A state or None, the position and time of the last event of the log when it was read, and whether the content of the
    state is erased at present.
    """

    versioned: Versioned[Any] | None
    position: int
    at: datetime
    erased: bool = False


class StateAfter(NamedTuple):
    """A state, and the event that led to it; None for the first state that `StateLoader.along` yields."""

    versioned: Versioned[Any]
    event: Recorded | None


class StateLoader:
    """Loads states from the tables over a connection of the caller."""

    def __init__(self, codec: Codec, keyring: Keyring) -> None:
        self.codec = codec
        self.keyring = keyring

    async def load(
        self,
        connection: AsyncConnection,
        known: Mapping[str, Versioned[Any] | None],
        *,
        until: int = NEWEST,
        use_absent: bool = False,
        damaged: dict[str, Unreadable] | None = None,
    ) -> dict[str, Versioned[Any]]:
        """The states of those streams that exist, at version `until` at most, their sealed fields opened.

        `known` has an older state of a stream, or None; only the events after it are read. `use_absent` is for the writer
        (see `Keyring`). The errors of streams that cannot be read are added to `damaged`.

        Raises:
            Damaged, ArchiveAway: a stream cannot be read, and `damaged` was left out.
        """
        if not known:
            return {}
        keys, unknown = self.keyring.known_keys(known, use_absent=use_absent)
        versions = [versioned.version if versioned else COLD for versioned in known.values()]
        query, values = LOAD, question_columns(known, unknown, versions, [until] * len(known))
        cold = not use_absent and not any(known.values())
        found = await read_parts(
            connection, self.codec, query, values, known, cold=cold, unreadable=damaged
        )
        parts = by_stream(found)
        # The key of a stream that cannot be read was not returned, but it may have one.
        absent = [each for each in unknown if each not in (damaged or ())] if use_absent else ()
        keys |= self.keyring.learn(wrapped_keys_of(parts, unknown), absent=absent)
        erased = destroy_erased(parts, self.codec, self.keyring)
        if any(known[stream] for stream in erased):
            # A known state has opened content: read it again.
            known = {**known, **dict.fromkeys(erased)}
            return await self.load(
                connection, known, until=until, use_absent=use_absent, damaged=damaged
            )
        states = self._states(parts, keys, known, damaged)
        await store_missing_snapshots(connection, self.codec, parts, states, keys)
        return states

    async def read(
        self, connection: AsyncConnection, stream: str, until: int | datetime = NEWEST
    ) -> LoadedState:
        """The state of one stream at a version or a time, its sealed fields opened, and the head of the log."""
        keys, unknown = self.keyring.known_keys([stream], use_absent=False)
        query, values = _query_with_head(stream, unknown, until)
        head, *parts = await read_parts(connection, self.codec, query, values, [stream])
        found = {stream: parts}
        keys |= self.keyring.learn(wrapped_keys_of(found, unknown))
        destroy_erased(found, self.codec, self.keyring)
        states = self._states(found, keys)
        await store_missing_snapshots(connection, self.codec, found, states, keys)
        return LoadedState(states.get(stream), head[0], head[2], self.keyring.is_destroyed(stream))

    async def as_of(
        self, connection: AsyncConnection, streams: Iterable[str], moment: PositionOrTime
    ) -> dict[str, Versioned[Any]]:
        """The states, as of a moment, of those streams that existed then and can be read, their sealed fields opened."""
        if not (streams := list(streams)):
            return {}
        keys, unknown = self.keyring.known_keys(streams, use_absent=False)
        query = LOAD_AT_TIME if isinstance(moment, datetime) else LOAD_AT_POSITION
        values = [moment, *question_columns(streams, unknown, [COLD] * len(streams))]
        parts = by_stream(await read_parts(connection, self.codec, query, values, streams))
        keys |= self.keyring.learn(wrapped_keys_of(parts, unknown))
        return self._states(parts, keys, damaged={})

    async def states_at(
        self,
        connection: AsyncConnection,
        versions: Mapping[str, int],
        unreadable: dict[str, Unreadable] | None = None,
    ) -> dict[str, Versioned[Any]]:
        """The state of each stream at its version in `versions`, sealed fields as `Ciphertext`. Streams whose archived events
        cannot be read are added to `unreadable`, and left out.

        Raises:
            Damaged: a stream holds an event that cannot be read.
        """
        if not versions:
            return {}
        values = question_columns(versions, (), [COLD] * len(versions), versions.values())
        found: dict[str, Versioned[Any]] = {}
        parts = await read_parts(
            connection, self.codec, LOAD, values, versions, unreadable=unreadable
        )
        for stream, its_parts in by_stream(parts).items():
            state = fold_parts(self.codec, None, its_parts, None)
            assert state is not None
            found[stream] = state
        return found

    async def along(
        self,
        reader: Reader,
        stream: str,
        first: int,
        last: int,
        *,
        budget: Budget,
        key: DataKey | None = None,
    ) -> AsyncIterator[StateAfter]:
        """The states of a stream after each version from `first` to `last`, as far as they exist.

        Without a key, sealed fields stay `Ciphertext`.

        Raises:
            TooExpensive: the budget is used up.
            Damaged: the stream holds an event that cannot be read.
        """
        versioned = await budget.wait(self._load_at_version(reader, stream, first, key))
        if versioned is None or versioned.version != first:
            return
        yield StateAfter(versioned, None)
        while versioned.version < last:
            rows = await budget.wait(self._read_page(reader, stream, versioned.version))
            for row in rows[: last - versioned.version]:
                recorded = self.codec.decode(row, key)
                after = apply_events(versioned, [recorded])
                assert after is not None
                versioned = after
                yield StateAfter(versioned, recorded)
                await budget.let_others_run()
            if not rows:
                return

    async def states_along(
        self, reader: Reader, stream: str, versions: Iterable[int], budget: Budget
    ) -> dict[int, Versioned[Any]]:
        """The state of a stream after each of some versions, sealed fields as `Ciphertext`.

        Between versions that are far apart, loading continues from a snapshot, so that each version costs at most
        `SNAPSHOT_EVERY` events. States that cannot be read are left out.
        """
        wanted = set(versions)
        found: dict[int, Versioned[Any]] = {}
        for run in runs(sorted(wanted)):
            try:
                async for versioned, _ in self.along(
                    reader, stream, run[0], run[-1], budget=budget
                ):
                    if versioned.version in wanted:
                        found[versioned.version] = versioned
            except Damaged as error:
                report(error)
        return found

    async def versions_at(
        self, connection: AsyncConnection, stream_positions: Iterable[tuple[str, int]]
    ) -> dict[tuple[str, int], int]:
        """For each stream and position of the log, the version of the stream at that position; 0 before its first event.
        Not for reads of the past, which need no version.
        """
        distinct = list(dict.fromkeys(stream_positions))
        streams, positions = [stream for stream, _ in distinct], [at for _, at in distinct]
        rows = await fetch_of_streams(connection, VERSIONS_AT, (streams, positions), streams)
        return {(row[0], row[1]): row[2] for row in rows}

    async def learn(
        self, connection: AsyncConnection, streams: Iterable[str], *, use_absent: bool = False
    ) -> dict[str, DataKey]:
        """The data keys of those streams that have one; they are cached in the keyring."""
        keys, unknown = self.keyring.known_keys(streams, use_absent=use_absent)
        if unknown:
            # Not prepared: a plan made while the table was empty would read the whole table for a long time.
            cursor = await connection.execute(KEYS, (unknown,), prepare=False, binary=True)
            rows = await cursor.fetchall()
            keys |= self.keyring.learn(rows, absent=unknown if use_absent else ())
        return keys

    def _states(
        self,
        parts: Mapping[str, Sequence[Part]],
        keys: Mapping[str, DataKey],
        known: Mapping[str, Versioned[Any] | None] | None = None,
        damaged: dict[str, Unreadable] | None = None,
    ) -> dict[str, Versioned[Any]]:
        states: dict[str, Versioned[Any]] = {}
        for stream, before in (dict.fromkeys(parts) if known is None else known).items():
            if stream in (damaged or ()):
                continue
            try:
                state = fold_parts(self.codec, before, parts.get(stream, ()), keys.get(stream))
            except Damaged as error:
                if damaged is None:
                    raise
                damaged[stream] = error
                report(error)
            else:
                states |= {stream: state} if state is not None else {}
        return states

    async def _load_at_version(
        self, reader: Reader, stream: str, version: int, key: DataKey | None
    ) -> Versioned[Any] | None:
        async with reader() as connection:
            if key is None:
                return (await self.states_at(connection, {stream: version})).get(stream)
            return (await self.load(connection, {stream: None}, until=version)).get(stream)

    async def _read_page(self, reader: Reader, stream: str, after: int) -> list[EventRow]:
        async with reader() as connection:
            return (await read_following(connection, [(stream, after)], EVENTS_AT_ONCE))[
                stream, after
            ]


def _query_with_head(
    stream: str, locked: Sequence[str], until: int | datetime
) -> tuple[str, Sequence[Any]]:
    if isinstance(until, datetime):
        return WITH_HEAD + LOAD_AT_TIME, (until, *question_columns([stream], locked, [COLD]))
    return WITH_HEAD + LOAD, question_columns([stream], locked, [COLD], [until])
