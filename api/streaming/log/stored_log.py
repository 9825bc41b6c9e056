"""The protocol by which the loader reads a log, and its implementation for PostgreSQL."""

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
"""A stream and a version of it."""
StreamPosition = tuple[str, int]
"""A stream and a position of the log."""


class LogSource(Protocol):
    """Rows, states and keys of one log. Every method that reads raises Overloaded while the log is unavailable."""

    @property
    def log_name(self) -> str | None:
        """The name of the log, if it has one."""
        ...

    @property
    def codec(self) -> Codec:
        """The codec of stored events and states."""
        ...

    @property
    def keyring(self) -> Keyring:
        """The data keys in memory."""
        ...

    async def head(self) -> int:
        """The position of the last event."""
        ...

    async def rows(self, after: int, until: int) -> Sequence[EventRow]:
        """The next events with positions in (after, until]: at least one where there are any."""
        ...

    async def keys(self, streams: Iterable[str]) -> Mapping[str, DataKey | None]:
        """The data key of each stream; None where the stream has none, or its key was destroyed."""
        ...

    async def states(self, versions: Mapping[str, int]) -> Mapping[str, Versioned[Any]]:
        """The state of each stream at the given version, sealed fields as `Ciphertext`.

        Raises:
            Damaged: an event or a stored state of one of the streams cannot be read.
        """
        ...

    async def versions(self, wanted: Sequence[StreamPosition]) -> Mapping[StreamPosition, int]:
        """The version that each stream had at a position."""
        ...

    async def read_following(
        self, stream_versions: Sequence[StreamVersion], limit: int
    ) -> Mapping[StreamVersion, Sequence[EventRow]]:
        """The events after each version of a stream: at most `limit`, and none after `PAGE_BYTES` bytes."""
        ...


class StoredLog:
    """The log in PostgreSQL. Past events are read from the primary or a standby, as `sources` decide."""

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
