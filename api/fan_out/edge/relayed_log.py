"""Reads for an edge what NATS does not have, from a relay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from api.fan_out.edge.link import Link
from api.fan_out.wire import unpack
from api.streaming.log.stored_log import StreamPosition, StreamVersion
from domain.eventlog.codec import Codec, EventRow, Snapshot
from domain.eventlog.encryption import DataKey
from domain.eventlog.keyring import Keyring
from domain.model import Versioned, replay

PAGE = 200


class RelayedLog:
    """A `LogSource` of an edge. Every method that reads raises Overloaded while no relay answers."""

    def __init__(
        self,
        link: Link,
        codec: Codec,
        keyring: Keyring,
        *,
        log_name: str | None,
        position: Callable[[], int],
    ) -> None:
        self._link = link
        self._position = position
        self.codec = codec
        self.keyring = keyring
        self.log_name = log_name

    async def head(self) -> int:
        """The position that this edge has read."""
        return self._position()

    async def rows(self, after: int, until: int) -> Sequence[EventRow]:
        return unpack(await self._link.ask("rows", after=after, until=until))

    async def keys(self, streams: Iterable[str]) -> Mapping[str, DataKey | None]:
        streams = set(streams)
        keys, unknown = self.keyring.known_keys(streams, use_absent=False)
        if unknown:
            await self._link.keys(unknown)
            keys, _ = self.keyring.known_keys(streams, use_absent=False)
        return {stream: keys.get(stream) for stream in streams}

    async def states(self, versions: Mapping[str, int]) -> Mapping[str, Versioned[Any]]:
        rows = unpack(await self._link.ask("states", versions=list(versions.items())))
        return {row.stream: await self._state(row) for row in rows}

    async def versions(self, wanted: Sequence[StreamPosition]) -> Mapping[StreamPosition, int]:
        found = orjson.loads(await self._link.ask("versions", places=wanted))
        return dict(zip(wanted, found, strict=True))

    async def read_following(
        self, stream_versions: Sequence[StreamVersion], limit: int
    ) -> Mapping[StreamVersion, Sequence[EventRow]]:
        body = await self._link.ask("following", places=stream_versions, limit=limit)
        counts, _, packed = body.partition(b"\n")
        rows = iter(unpack(packed))
        return {
            stream_version: [next(rows) for _ in range(count)]
            for stream_version, count in zip(stream_versions, orjson.loads(counts), strict=True)
        }

    async def _state(self, row: EventRow) -> Versioned[Any]:
        """The state in a row of a relay; folded from events where the relay is of a version with another form of states."""
        shape, size = row.type, int(row.meta)
        if shape == self.codec.shape:
            kept = Snapshot(row.stream, row.version, row.position, row.at, row.data, shape)
            return self.codec.restore(kept)._replace(size=size)
        return await self._fold(row.stream, row.version)

    async def _fold(self, stream: str, version: int) -> Versioned[Any]:
        state: Versioned[Any] | None = None
        while (after := state.version if state else 0) < version:
            rows = (await self.read_following([(stream, after)], PAGE))[stream, after]
            state = replay(
                state, (self.codec.decode(row) for row in rows if row.version <= version)
            )
            if not rows:
                break
        assert state is not None
        return state
