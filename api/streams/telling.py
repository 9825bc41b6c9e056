"""States folded along with the log, for those streams whose watchers need to know them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import structlog

from api.streams.entries import KIND, Entry, Told
from api.telemetry.metrics import UNREADABLE
from domain.eventlog.states import Unreadable
from domain.eventlog.store import Store
from domain.model import Held, replay

CAPACITY = 4_096

log = structlog.get_logger()

Run = Sequence[Entry]
"""Events of one stream, in order and without holes."""


class Teller:
    """Notes in entries what was before and after them; keeps the latest states it has seen.

    An event that this program cannot read, as a newer one may have written it, has no state after it,
    nor have those that follow it in its stream: they stay untold, and all others are told.
    """

    def __init__(self, store: Store, capacity: int = CAPACITY) -> None:
        self._store = store
        self._capacity = capacity
        self._held: OrderedDict[str, Held[Any]] = OrderedDict()
        self._readable: dict[str, int] = {}
        """The last version of which there is a state, for streams where that is not the newest."""

    async def tell(self, entries: Iterable[Entry]) -> None:
        """Entries of one stream may overlap or have holes; those told before are passed over."""
        for runs in _rounds(entries):
            before = await self._before(runs)
            await self._unlock(entry for run in runs for entry in run)
            for run in runs:
                self._follow(run, before)

    def forget(self) -> None:
        """Drop the states."""
        self._held.clear()
        self._readable.clear()

    def _follow(self, run: Run, before: Mapping[str, Held[Any]]) -> None:
        stream = run[0].stream
        held = before.get(stream)
        for entry in run:
            if entry.told is None and self._can_be_read(entry):
                entry.told = self._told(entry, held)
            entry.unreadable = entry.told is None
            held = entry.told.after if entry.told else held
        if held is not None:
            self._keep(stream, held)

    def _can_be_read(self, entry: Entry) -> bool:
        return entry.row.version <= self._readable.get(entry.stream, entry.row.version)

    def _told(self, entry: Entry, before: Held[Any] | None) -> Told | None:
        try:
            recorded = self._store.codec.decode(entry.row)
            after = replay(before, [recorded])
        except Exception:
            log.exception("an event cannot be read", position=entry.position, type=entry.type)
            self._give_up(entry.stream, entry.row.version - 1)
            return None
        assert after is not None
        return Told(recorded, before, after)

    async def _unlock(self, entries: Iterable[Entry]) -> None:
        """A state may hold what earlier events sealed, so every entry that has one needs the key."""
        locked = [entry for entry in entries if entry.key is None]
        keys = await self._store.keys(entry.stream for entry in locked) if locked else {}
        for entry in locked:
            entry.key = keys[entry.stream]

    async def _before(self, runs: Iterable[Run]) -> dict[str, Held[Any]]:
        held: dict[str, Held[Any]] = {}
        missing: dict[str, int] = {}
        for first in (run[0] for run in runs):
            version = first.row.version - 1
            known = self._held.get(first.stream)
            if known is not None and known.version == version:
                held[first.stream] = known
            elif first.told is None and version and self._can_be_read(first):
                missing[first.stream] = version
        return held | await self._states(missing)

    async def _states(self, versions: dict[str, int]) -> dict[str, Held[Any]]:
        while versions:
            try:
                async with self._store.reader() as connection:
                    return await self._store.states.states_at(connection, versions)
            except Unreadable as error:
                log.exception("an event cannot be read", stream=error.stream)
                self._give_up(error.stream, versions.pop(error.stream) - 1)
        return {}

    def _give_up(self, stream: str, version: int) -> None:
        UNREADABLE.inc()
        self._readable[stream] = min(version, self._readable.get(stream, version))

    def _keep(self, stream: str, held: Held[Any]) -> None:
        self._held[stream] = held
        self._held.move_to_end(stream)
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)


def _rounds(entries: Iterable[Entry]) -> Iterator[list[Run]]:
    """Runs of entries, no two of one stream together: each begins at a state of its own."""
    streams: dict[str, list[list[Entry]]] = {}
    for entry in entries:
        if entry.stream.startswith(KIND):
            runs = streams.setdefault(entry.stream, [])
            if not runs or runs[-1][-1].row.version != entry.row.version - 1:
                runs.append([])
            runs[-1].append(entry)
    for nth in zip_longest(*streams.values()):
        yield [run for run in nth if run]
