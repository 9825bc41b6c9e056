"""Time travel, straight from the log: any version, any instant, each event, and blame."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from domain.budget import Budget
from domain.errors import Invalid, NotFound, Overloaded, TooExpensive
from domain.eventlog.archive.archived_queries import Versions, fetch_of_streams
from domain.eventlog.codec import EventRow
from domain.eventlog.connection.heartbeats import read_heartbeats
from domain.eventlog.encryption import DamagedKey
from domain.eventlog.queries import BACKWARDS, FORWARDS, NEWEST
from domain.eventlog.states import LoadedState
from domain.eventlog.store import Store
from domain.json_forms import format_time
from domain.model import Recorded, Versioned
from projections.history.diff import Diff
from projections.history.json_patch import Caused
from projections.representations.cloudevents import envelope

FARTHEST = 1_000
CHEAPER = "ask for a shorter range of versions: so many changes take too long to compare"
MOST_BYTES = 8 * 1024 * 1024
"""A page of events ends with the one that brings it to so many bytes."""
LONGEST = 5.0
"""Seconds of CPU that one difference, or one page of states, may take."""
SHORT = "execution."

VersionOrTime = int | datetime


def existing(reading: LoadedState, until: VersionOrTime | None = None) -> Versioned[Any]:
    """The state that was read.

    Raises:
        NotFound: there is none: the stream has no such version, or had no events by that time.
    """
    versioned = reading.versioned
    if isinstance(until, datetime) and versioned is None:
        raise NotFound("Nothing was recorded here by that time.", at=format_time(until))
    if versioned is None:
        raise NotFound.of("execution")
    if isinstance(until, int) and versioned.version != until:
        detail = f"There is no version {until}: the newest is {versioned.version}."
        raise NotFound(detail, version=until, newest=versioned.version)
    return versioned


class EventPage(NamedTuple):
    """CloudEvents envelopes, each a JSON object in bytes, and the cursor of the next page, if any."""

    envelopes: list[bytes]
    next_cursor: str | None


class History:
    """Reads the log itself, so it is always current and needs no tables."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, stream: str, until: VersionOrTime | None = None) -> LoadedState:
        """A stream now, or as of a version or a time, and how far the log goes: in one query.

        Beyond the newest version it is as it is now; `existing` tells.
        """
        if isinstance(until, int) and not 0 < until < NEWEST:
            raise NotFound("There is no such version.", version=until)
        return await self._store.load_with_head(stream, NEWEST if until is None else until)

    async def last_heartbeat(self, execution: str) -> datetime | None:
        """When the last heartbeat of an execution came, if ever; heartbeats are not in its history."""
        async with self._store.reader() as connection:
            return (await read_heartbeats(connection, [execution])).get(execution)

    async def at_version(self, stream: str, version: int) -> Versioned[Any]:
        """The state after the event with this version.

        Raises:
            NotFound: the stream has, or had until now, no such version.
        """
        return existing(await self.read(stream, version), version)

    async def events(
        self,
        stream: str,
        *,
        types: Sequence[str] = (),
        descending: bool = False,
        limit: int = 50,
        cursor: str | None = None,
        with_states: bool = False,
        until: int = NEWEST,
    ) -> EventPage:
        """One page of a stream's events, `types` with `*` for any characters and, if you like,
        without `execution.`; `with_states` shows what the execution was after each.

        Raises:
            Overloaded: there is an event beyond the position `until`, which must not be shown.
            Invalid: the cursor is not one of these pages.
            NotFound: there is no such stream.
        """
        after, before = _bounds(cursor, descending=descending)
        patterns = [short + _pattern(glob) for glob in types for short in ("", SHORT)] or None
        bounds = Versions(after, min(before - 1, after + limit + 1))
        if descending:
            bounds = Versions(after, before - 1, limit + 1)
        values = stream, after, before, patterns, patterns, limit + 1, MOST_BYTES
        query, versions = BACKWARDS if descending else FORWARDS, {stream: bounds}
        rows = await self._page(query, values, {} if patterns else versions)
        known = [EventRow(*row[1:]) for row in rows] or await self._store.history(stream, limit=1)
        if not known:
            raise NotFound.of(stream)
        if any(row.position > until for row in known):
            raise Overloaded
        found = known[:limit] if rows else []
        shown = await self._envelopes(stream, found, with_states=with_states)
        more = bool(rows) and rows[0][0] > len(shown)
        return EventPage(shown, str(found[len(shown) - 1].version) if more else None)

    async def _page(
        self, query: str, values: tuple[Any, ...], versions: Mapping[str, Versions]
    ) -> list[tuple[Any, ...]]:
        async with self._store.reader() as connection:
            return await fetch_of_streams(connection, query, values, values[:1], versions=versions)

    async def _envelopes(
        self, stream: str, rows: Sequence[EventRow], *, with_states: bool
    ) -> list[bytes]:
        """Of the first rows, as many as have `MOST_BYTES` together; of one at least."""
        key = (await self._store.keys([stream]))[stream]
        states: dict[int, Versioned[Any]] = {}
        if with_states:
            states = await self._store.states.states_along(
                self._store.reader,
                stream,
                [row.version for row in rows],
                Budget(LONGEST, TooExpensive.field("limit", "ask for fewer events at a time")),
            )
        shown: list[bytes] = []
        size = 0
        for row in rows:
            shown.append(envelope(row, key, states.get(row.version), self._store.log_name))
            size += len(shown[-1])
            if size >= MOST_BYTES:
                break
            await asyncio.sleep(0)
        return shown

    async def diff(
        self, stream: str, from_version: int, to_version: int, seconds: float = LONGEST
    ) -> list[dict[str, Any]]:
        """The RFC 6902 patch from one version's document to a later one's, each operation with
        the `event`, `actor` and `time` that caused it.

        Raises:
            Invalid: `to` is before `from`, or too far behind it.
            NotFound: one of the versions does not exist.
            TooExpensive: it takes more CPU than so many seconds.
            Damaged: what is stored of an event between them cannot be read.
        """
        if to_version < from_version:
            raise Invalid.field(
                "to", f"must be at least `from`, {from_version}, but is {to_version}"
            )
        if to_version - from_version > FARTHEST:
            raise Invalid.field(
                "to",
                f"must be at most {FARTHEST} versions after `from`, {from_version}, but is {to_version}",
            )
        budget = Budget(seconds, TooExpensive.field("to", CHEAPER))
        key = (await self._store.keys([stream]))[stream]
        if isinstance(key, DamagedKey):
            key = None
        diff: Diff | None = None
        version = 0
        async for versioned, event in self._store.states.along(
            self._store.reader, stream, from_version, to_version, budget=budget, key=key
        ):
            if diff is None or event is None:
                diff = Diff(versioned, erased=key is None)
            else:
                diff.add(event, versioned)
            version = versioned.version
        if diff is None or version != to_version:
            missing = to_version if diff else from_version
            existing(await self.read(stream, missing), missing)
            raise NotFound("There are no such versions.")
        return [_operation(caused) async for caused in diff.patch(budget)]


def _operation(caused: Caused[Recorded]) -> dict[str, Any]:
    change, event = caused
    value = {} if change.op == "remove" else {"value": change.value}
    occurred = {"occurredAt": format_time(event.occurred_at)} if event.occurred_at else {}
    return {
        "op": change.op,
        "path": change.path,
        **value,
        "event": {
            "type": event.event.type,
            "version": event.version,
            "position": event.position,
        },
        "actor": event.by,
        "time": format_time(event.at),
        **occurred,
    }


def _bounds(cursor: str | None, *, descending: bool) -> tuple[int, int]:
    if cursor is None:
        return 0, NEWEST
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 18):
        raise Invalid.field("cursor", "must be `nextCursor` of a page of this history")
    return (0, int(cursor)) if descending else (int(cursor), NEWEST)


def _pattern(glob: str) -> str:
    literal = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return literal.replace("*", "%")
