"""Executions as they are now, for filters on log lines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import structlog

from api.streaming.log.entry import Entry
from api.streaming.log.loader import Loader
from domain.errors import Overloaded
from domain.lru import LruCache
from domain.model import CACHED_PARTS, Versioned

log = structlog.get_logger()


class CurrentStates:
    """Caches the latest states; those it does not have are asked for together."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._cache: LruCache[str, Versioned[Any]] = LruCache(CACHED_PARTS, attrgetter("weight"))

    def note(self, entries: Sequence[Entry]) -> None:
        """What was published, in order; after an event that cannot be read, the state is unknown."""
        for entry in entries:
            if entry.states is not None:
                self._cache.put(entry.stream, entry.states.after)
            else:
                self._cache.pop(entry.stream)
        self._cache.trim()

    def forget(self) -> None:
        """Drop all states."""
        self._cache.clear()

    async def of(self, streams: Iterable[str]) -> Mapping[str, Versioned[Any]]:
        """The states of streams; one that does not exist, or cannot be read, is left out."""
        wanted = list(streams)
        missing = [stream for stream in wanted if stream not in self._cache]
        for stream, versioned in zip(
            missing, await asyncio.gather(*map(self._load, missing)), strict=True
        ):
            newest = self._cache.get(stream)
            if versioned is not None and (newest is None or newest.version < versioned.version):
                self._cache.put(stream, versioned)
        found = {stream: versioned for stream in wanted if (versioned := self._cache.get(stream))}
        self._cache.trim()
        return found

    async def _load(self, stream: str) -> Versioned[Any] | None:
        try:
            return await self._loader.state(stream)
        except Overloaded:
            raise
        except Exception:  # this one is unknown, the others are not
            log.exception("a state cannot be read", stream=stream)
            return None
