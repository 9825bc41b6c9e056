"""The states of executions after the events of a page, for filters that look at them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from domain.damage import report
from domain.errors import Damaged, Unreadable
from domain.eventlog.codec import EventRow
from domain.eventlog.state_parts import read_following
from domain.eventlog.store import Store
from domain.lru import LruCache
from domain.model import Versioned, replay

CAPACITY = 20_000
"""Parts of states that are kept from page to page."""
AT_ONCE = 500

States = dict[tuple[str, int], Versioned[Any]]


class FoundStates(NamedTuple):
    """States, and the streams of which some are not known now, as their archive is away."""

    states: States
    away: set[str]


class EventStates:
    """Folds events onto the states before them; those used last are kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: LruCache[str, Versioned[Any]] = LruCache(CAPACITY, lambda state: state.weight)

    async def of(self, rows: Iterable[EventRow]) -> FoundStates:
        """The state after each event, by its stream and version, sealed fields as `Ciphertext`. One that
        is damaged is left out.
        """
        wanted: dict[str, list[int]] = {}
        for row in rows:
            wanted.setdefault(row.stream, []).append(row.version)
        found = FoundStates({}, set())
        pending = await self._begin(wanted, found)
        while pending := {
            s: known for s, known in pending.items() if known.version < wanted[s][-1]
        }:
            pending = await self._advance(pending, wanted, found)
        self._known.trim()
        return found

    async def _begin(
        self, wanted: dict[str, list[int]], found: FoundStates
    ) -> dict[str, Versioned[Any]]:
        """A state of each stream that is not later than the first one wanted."""
        begun = {}
        for stream, versions in wanted.items():
            known = self._known.get(stream)
            if known is not None and known.version <= versions[0]:
                begun[stream] = known
        missing = {s: versions[0] for s, versions in wanted.items() if s not in begun}
        begun |= await self._load(missing, found)
        for stream, state in begun.items():
            self._put(stream, state, wanted, found.states)
        return begun

    async def _load(
        self, versions: dict[str, int], found: FoundStates
    ) -> dict[str, Versioned[Any]]:
        unreadable: dict[str, Unreadable] = {}
        async with self._store.reader() as connection:
            try:
                states = await self._store.states.states_at(connection, versions, unreadable)
            except Damaged as error:
                if len(versions) == 1:
                    report(error)
                    return {}
            else:
                _note(unreadable, found)
                return states
        states = {}
        for stream, version in versions.items():
            states |= await self._load({stream: version}, found)
        return states

    async def _advance(
        self, pending: dict[str, Versioned[Any]], wanted: dict[str, list[int]], found: FoundStates
    ) -> dict[str, Versioned[Any]]:
        stream_versions = [(stream, known.version) for stream, known in pending.items()]
        unreadable: dict[str, Unreadable] = {}
        async with self._store.reader() as connection:
            pages = await read_following(connection, stream_versions, AT_ONCE, unreadable)
        _note(unreadable, found)
        after: dict[str, Versioned[Any]] = {}
        for (stream, _), rows in pages.items():
            if stream in unreadable:
                continue
            state = pending[stream]
            try:
                for row in rows:
                    if state.version == wanted[stream][-1]:
                        break
                    advanced = replay(state, [self._store.codec.decode(row)])
                    assert advanced is not None
                    state = advanced
                    self._put(stream, state, wanted, found.states)
            except Damaged as error:
                report(error)
            else:
                after |= {stream: state} if rows else {}
        return after

    def _put(
        self, stream: str, state: Versioned[Any], wanted: dict[str, list[int]], found: States
    ) -> None:
        self._known.put(stream, state)
        if state.version in wanted[stream]:
            found[stream, state.version] = state


def _note(unreadable: dict[str, Unreadable], found: FoundStates) -> None:
    """Report what is damaged; what is not may be read later."""
    for stream, error in unreadable.items():
        if isinstance(error, Damaged):
            report(Damaged(error.detail, reason=error.reason, stream=stream))
        else:
            found.away.add(stream)
