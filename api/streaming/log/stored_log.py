"""The protocol by which the loader reads the log, and its implementation for PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from domain.eventlog.codec import Codec, EventRow
from domain.eventlog.encryption import DataKey
from domain.eventlog.keyring import Keyring
from domain.eventlog.state_parts import read_following
from domain.eventlog.store import Store
from domain.model import Versioned
from projections.read_sources import ReadSources

StreamVersion = tuple[str, int]
"""A stream, and a version of it."""
StreamPosition = tuple[str, int]
"""A stream, and a position of the log."""


class LogSource(Protocol):
    """Rows, states and keys of one log. Every method that reads raises Overloaded while that is not possible."""

    @property
    def log_name(self) -> str | None:
        """The name of the log, if it has one."""
        ...

    @property
    def codec(self) -> Codec:
        """How events and states are stored."""
        ...

    @property
    def keyring(self) -> Keyring:
        """The data keys at hand."""
        ...

    async def head(self) -> int:
        """The position of the last event."""
        ...

    async def rows(self, after: int, until: int) -> Sequence[EventRow]:
        """The next events in (after, until], at least one where there are any."""
        ...

    async def keys(self, streams: Iterable[str]) -> Mapping[str, DataKey | None]:
        """The data keys of streams; None where there is none (any more)."""
        ...

    async def states(self, versions: Mapping[str, int]) -> Mapping[str, Versioned[Any]]:
        """The state of each stream at a version of its own, sealed fields as `Ciphertext`.

        Raises:
            Damaged: there is no such state, because of what one of the streams holds.
        """
        ...

    async def versions(self, wanted: Sequence[StreamPosition]) -> Mapping[StreamPosition, int]:
        """The version that each stream had at a position."""
        ...

    async def read_following(
        self, stream_versions: Sequence[StreamVersion], limit: int
    ) -> Mapping[StreamVersion, Sequence[EventRow]]:
        """For each stream and version what follows there: at most `limit`, none after `PAGE_BYTES`."""
        ...


class StoredLog:
    """The log in PostgreSQL. Its past is read where `sources` say."""

    def __init__(self, store: Store, sources: ReadSources | None = None) -> None:
        self._store = store
        self._sources = sources or ReadSources(store)

    @property
    def log_name(self) -> str | None:
        return self._store.log_name

    @property
    def codec(self) -> Codec:
        return self._store.codec

    @property
    def keyring(self) -> Keyring:
        return self._store.keyring

    async def head(self) -> int:
        position, _at = await self._store.head()
        return position

    async def rows(self, after: int, until: int) -> Sequence[EventRow]:
        return await self._sources.of_log(until, lambda store, _: store.read(after, until - after))

    async def keys(self, streams: Iterable[str]) -> Mapping[str, DataKey | None]:
        return await self._store.keys(streams)

    async def states(self, versions: Mapping[str, int]) -> Mapping[str, Versioned[Any]]:
        async with self._store.reader() as connection:
            return await self._store.states.states_at(connection, versions)

    async def versions(self, wanted: Sequence[StreamPosition]) -> Mapping[StreamPosition, int]:
        async with self._store.reader() as connection:
            return await self._store.states.versions_at(connection, wanted)

    async def read_following(
        self, stream_versions: Sequence[StreamVersion], limit: int
    ) -> Mapping[StreamVersion, Sequence[EventRow]]:
        async with self._store.reader() as connection:
            return await read_following(connection, stream_versions, limit)
