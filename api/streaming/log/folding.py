"""Adds to the events of executions the states before and after them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import structlog

from api.streaming.log.entry import Entry, States
from api.streaming.log.loader import Loader
from domain.damage import REPORTS
from domain.errors import Overloaded
from domain.eventlog.encryption import DataKey
from domain.lru import LruCache
from domain.model import CACHED_PARTS, Versioned, replay

log = structlog.get_logger()

KnownStates = dict[str, Versioned[Any] | None]


class Folding:
    """Folds events in order and caches the latest state of each stream.

    An event that this program cannot read, as a newer version wrote it, has no states, and neither have the
    events that follow it in the same stream. Other streams are not affected.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._cache = _empty_cache()
        self._last_readable: dict[str, int] = {}
        """The last version with a state of each stream that has an event that cannot be read."""

    async def fold(self, entries: Sequence[Entry]) -> list[Entry]:
        """Add to entries the states before and after them. The entries must follow each other in the log, or in one
        stream.
        """
        cache = self._cache  # `forget` replaces the cache meanwhile; the old one is then dropped
        states = await self._states_before(entries)
        keys = await self._missing_keys(entries)
        folded = [self._fold(entry, states, keys) for entry in entries]
        for stream, versioned in states.items():
            if versioned is not None:
                cache.put(stream, versioned)
        cache.trim()
        return folded

    async def newest(self, streams: Iterable[str]) -> Mapping[str, Versioned[Any]]:
        """The latest states of streams; a stream that does not exist or cannot be read is left out."""
        wanted = list(streams)
        missing = [stream for stream in wanted if stream not in self._cache]
        for stream, loaded in zip(
            missing, await asyncio.gather(*map(self._load_newest, missing)), strict=True
        ):
            folded = self._cache.get(stream)
            if loaded is not None and (folded is None or folded.version < loaded.version):
                self._cache.put(stream, loaded)
        found = {stream: versioned for stream in wanted if (versioned := self._cache.get(stream))}
        self._cache.trim()
        return found

    async def _load_newest(self, stream: str) -> Versioned[Any] | None:
        try:
            return await self._loader.state(stream)
        except Overloaded:
            raise
        except Exception:  # the states of the other streams are still wanted
            log.exception("a state cannot be read", stream=stream)
            return None

    def forget(self) -> None:
        """Drop all states."""
        self._cache = _empty_cache()
        self._last_readable.clear()

    def _fold(self, entry: Entry, states: KnownStates, keys: Mapping[str, DataKey | None]) -> Entry:
        if not entry.of_execution:
            return entry
        row, stream = entry.row, entry.stream
        key = entry.key or keys.get(stream)
        if not self._can_read(entry):
            return Entry(row, key, log=entry.log)
        before = states.get(stream)
        try:
            recorded = self._loader.decode(row)
            after = replay(before, [recorded])
        except Exception as error:  # noqa: BLE001 - any error is reported, and ends the states of the stream
            self._mark_unreadable(stream, row.version - 1, error)
            states[stream] = None
            return Entry(row, key, log=entry.log)
        assert after is not None
        states[stream] = after
        return Entry(row, key, States(recorded, before, after), entry.log)

    async def _states_before(self, entries: Sequence[Entry]) -> KnownStates:
        firsts: dict[str, Entry] = {}
        for entry in entries:
            if entry.of_execution:
                firsts.setdefault(entry.stream, entry)
        states: KnownStates = {}
        missing: dict[str, int] = {}
        for stream, first in firsts.items():
            version, cached = first.row.version - 1, self._cache.get(stream)
            if cached is not None and cached.version == version:
                states[stream] = cached
            elif version and self._can_read(first):
                missing[stream] = version
        return states | await self._load(missing)

    async def _load(self, versions: Mapping[str, int]) -> KnownStates:
        reads = [self._loader.state(*each) for each in versions.items()]
        results = await asyncio.gather(*reads, return_exceptions=True)
        states: KnownStates = {}
        for (stream, version), result in zip(versions.items(), results, strict=True):
            if isinstance(result, Overloaded):
                raise result
            if isinstance(result, Exception):
                self._mark_unreadable(stream, version - 1, result)
            elif isinstance(result, BaseException):
                raise result
            else:
                states[stream] = result
        return states

    async def _missing_keys(self, entries: Sequence[Entry]) -> Mapping[str, DataKey | None]:
        """The keys of streams whose entries have none: a state may hold fields that earlier events sealed."""
        streams = {entry.stream for entry in entries if entry.key is None and entry.of_execution}
        return await self._loader.keys(streams) if streams else {}

    def _can_read(self, entry: Entry) -> bool:
        return entry.row.version <= self._last_readable.get(entry.stream, entry.row.version)

    def _mark_unreadable(self, stream: str, version: int, error: Exception) -> None:
        REPORTS.report("an event cannot be read", stream, version + 1, error)
        self._cache.pop(stream)
        self._last_readable[stream] = min(version, self._last_readable.get(stream, version))


def _empty_cache() -> LruCache[str, Versioned[Any]]:
    return LruCache(CACHED_PARTS, attrgetter("weight"))
