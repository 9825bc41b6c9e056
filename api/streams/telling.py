"""States folded along with the log, for those streams whose watchers need to know them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from api.streams.entries import Entry, Told
from domain.kernel import Held, replay
from domain.store import Store
from projections.pasts import states_at

CAPACITY = 4_096
KIND = "execution/"


class Teller:
    """Notes in entries what was before and after them; keeps the latest states it has seen."""

    def __init__(self, store: Store, capacity: int = CAPACITY) -> None:
        self._store = store
        self._capacity = capacity
        self._held: OrderedDict[str, Held[Any]] = OrderedDict()

    async def tell(self, entries: Sequence[Entry]) -> None:
        """Entries of one stream stand in order and without holes; those told before are passed over."""
        told = [entry for entry in entries if entry.stream.startswith(KIND)]
        held = await self._before(told)
        for entry in told:
            if entry.told is None:
                before = held.get(entry.stream)
                recorded = self._store.codec.decode(entry.row)
                after = replay(before, [recorded])
                assert after is not None
                entry.told = Told(recorded, before, after)
            held[entry.stream] = entry.told.after
        self._keep(held)

    def forget(self) -> None:
        """Drop the states."""
        self._held.clear()

    async def _before(self, entries: Iterable[Entry]) -> dict[str, Held[Any]]:
        held: dict[str, Held[Any]] = {}
        missing: dict[str, int] = {}
        for stream, entry in _firsts(entries).items():
            version = entry.row.version - 1
            known = self._held.get(stream)
            if known is not None and known.version == version:
                held[stream] = known
            elif entry.told is None and version:
                missing[stream] = version
        if missing:
            async with self._store.reader() as connection:
                held.update(await states_at(connection, self._store.codec, missing))
        return held

    def _keep(self, held: dict[str, Held[Any]]) -> None:
        for stream, state in held.items():
            self._held[stream] = state
            self._held.move_to_end(stream)
        while len(self._held) > self._capacity:
            self._held.popitem(last=False)


def _firsts(entries: Iterable[Entry]) -> dict[str, Entry]:
    firsts: dict[str, Entry] = {}
    for entry in entries:
        firsts.setdefault(entry.stream, entry)
    return firsts
