"""States from snapshots and events: now, at a version, as of a moment, one or many, in one query."""

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
COLD = -1
"""The known version of a stream of which nothing is known."""

PositionOrTime = int | datetime
Reader = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
"""Gives a connection for a few seconds."""


class LoadedState(NamedTuple):
    """A state or None, position and time of the last event of the log then, and whether its content is
    `erased` by now.
    """

    versioned: Versioned[Any] | None
    position: int
    at: datetime
    erased: bool = False


class StateAfter(NamedTuple):
    """A state on a way through the versions, and the event that led to it; None at the beginning."""

    versioned: Versioned[Any]
    event: Recorded | None


class StateLoader:
    """Makes states of what the tables hold. It has no connection: each call is given one."""

    def __init__(self, codec: Codec, keyring: Keyring) -> None:
        self.codec = codec
        self.keyring = keyring

    async def load(
        self,
        connection: AsyncConnection,
        known: Mapping[str, Versioned[Any] | None],
        *,
        until: int = NEWEST,
        believe_absent: bool = False,
        damaged: dict[str, Unreadable] | None = None,
    ) -> dict[str, Versioned[Any]]:
        """The states of those streams that exist, at a version at most, what is sealed opened.

        Where an older state is known, only the events after it are read. `believe_absent` is for
        the writer: see `Keyring`. What is wrong with streams that cannot be read is put into `damaged`.

        Raises:
            Damaged, ArchiveAway: there is such a stream, and `damaged` was left out.
        """
        if not known:
            return {}
        keys, unknown = self.keyring.known_keys(known, believe_absent=believe_absent)
        versions = [versioned.version if versioned else COLD for versioned in known.values()]
        query, values = LOAD, question_columns(known, unknown, versions, [until] * len(known))
        cold = not believe_absent and not any(known.values())
        found = await read_parts(
            connection, self.codec, query, values, known, cold=cold, unreadable=damaged
        )
        parts = by_stream(found)
        absent = unknown if believe_absent else ()
        keys |= self.keyring.learn(wrapped_keys_of(parts, unknown), absent=absent)
        erased = destroy_erased(parts, self.codec, self.keyring)
        if any(known[stream] for stream in erased):  # that is open: the whole of it is read again
            known = {**known, **dict.fromkeys(erased)}
            return await self.load(
                connection, known, until=until, believe_absent=believe_absent, damaged=damaged
            )
        states = self._states(parts, keys, known, damaged)
        await store_missing_snapshots(connection, self.codec, parts, states, keys)
        return states

    async def read(
        self, connection: AsyncConnection, stream: str, until: int | datetime = NEWEST
    ) -> LoadedState:
        """One stream at a version or a time, and how far the log was; what is sealed is opened."""
        keys, unknown = self.keyring.known_keys([stream], believe_absent=False)
        query, values = _reading(stream, unknown, until)
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
        """Those streams that existed at a moment and can be read, as they were then; what is sealed is
        opened.
        """
        if not (streams := list(streams)):
            return {}
        keys, unknown = self.keyring.known_keys(streams, believe_absent=False)
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
        """The state of each stream at a version of its own, sealed fields as `Ciphertext`; of those that are `unreadable`
        as their events are archived none.

        Raises:
            Damaged: there is no such state, because of what one of the streams holds.
        """
        if not versions:
            return {}
        values = question_columns(versions, (), [COLD] * len(versions), versions.values())
        found: dict[str, Versioned[Any]] = {}
        parts = await read_parts(
            connection, self.codec, LOAD, values, versions, unreadable=unreadable
        )
        for stream, of_it in by_stream(parts).items():
            state = fold_parts(self.codec, None, of_it, None)
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
        """The states of a stream from one version to a later one, as far as they exist.

        Without a key what is sealed stays `Ciphertext`.

        Raises:
            TooExpensive: it takes more than the budget has.
            Damaged: there is no such state, because of what the stream holds.
        """
        versioned = await budget.wait(self._first(reader, stream, first, key))
        if versioned is None or versioned.version != first:
            return
        yield StateAfter(versioned, None)
        while versioned.version < last:
            rows = await budget.wait(self._next(reader, stream, versioned.version))
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

        Where they lie far apart it begins again at a snapshot, so that no version costs more events
        than there are between two of those. States that cannot be read are left out.
        """
        asked = set(versions)
        found: dict[int, Versioned[Any]] = {}
        for run in runs(sorted(asked)):
            try:
                async for versioned, _ in self.along(
                    reader, stream, run[0], run[-1], budget=budget
                ):
                    if versioned.version in asked:
                        found[versioned.version] = versioned
            except Damaged as error:
                report(error)
        return found

    async def versions_at(
        self, connection: AsyncConnection, stream_positions: Iterable[tuple[str, int]]
    ) -> dict[tuple[str, int], int]:
        """For each stream and position of the log the version it had there, 0 before its first event."""
        asked = list(dict.fromkeys(stream_positions))
        streams, positions = [stream for stream, _ in asked], [position for _, position in asked]
        rows = await fetch_of_streams(connection, VERSIONS_AT, (streams, positions), streams)
        return {(row[0], row[1]): row[2] for row in rows}

    async def learn(
        self, connection: AsyncConnection, streams: Iterable[str], *, believe_absent: bool = False
    ) -> dict[str, DataKey]:
        """The keys of streams, as far as they have one."""
        keys, unknown = self.keyring.known_keys(streams, believe_absent=believe_absent)
        if unknown:
            # Never prepared: a plan made while the table was empty reads all of it for long.
            cursor = await connection.execute(KEYS, (unknown,), prepare=False, binary=True)
            rows = await cursor.fetchall()
            keys |= self.keyring.learn(rows, absent=unknown if believe_absent else ())
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

    async def _first(
        self, reader: Reader, stream: str, version: int, key: DataKey | None
    ) -> Versioned[Any] | None:
        async with reader() as connection:
            if key is None:
                return (await self.states_at(connection, {stream: version})).get(stream)
            return (await self.load(connection, {stream: None}, until=version)).get(stream)

    async def _next(self, reader: Reader, stream: str, after: int) -> list[EventRow]:
        async with reader() as connection:
            return (await read_following(connection, [(stream, after)], EVENTS_AT_ONCE))[
                stream, after
            ]


def _reading(
    stream: str, locked: Sequence[str], until: int | datetime
) -> tuple[str, Sequence[Any]]:
    if isinstance(until, datetime):
        return WITH_HEAD + LOAD_AT_TIME, (until, *question_columns([stream], locked, [COLD]))
    return WITH_HEAD + LOAD, question_columns([stream], locked, [COLD], [until])
