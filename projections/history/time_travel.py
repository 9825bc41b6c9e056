"""Reads executions from the log: at any version or time, event by event, and with the cause of each difference."""

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
"""Versions over which a difference may extend."""
CHEAPER = "ask for a shorter range of versions: so many changes take too long to compare"
MOST_BYTES = 8 * 1024 * 1024
"""Bytes of envelopes after which a page of events ends."""
LONGEST = 5.0
"""Seconds of CPU that a difference, or a page of events with states, may take."""
SHORT = "execution."
"""The beginning of event types that clients may leave out."""

VersionOrTime = int | datetime


def existing(reading: LoadedState, until: VersionOrTime | None = None) -> Versioned[Any]:
    """Return the state that was read.

    Raises:
        NotFound: the stream does not exist, has no such version, or had no events by that time.
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
    """A page of CloudEvents envelopes, each a JSON object in bytes, and the cursor of the next page, if any."""

    envelopes: list[bytes]
    next_cursor: str | None


class History:
    """Reads streams from the log itself, so answers are always current and depend on no view."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, stream: str, until: VersionOrTime | None = None) -> LoadedState:
        """Return the state of a stream now, or at a version or time, with the last position of the log, by one query.

        For a version beyond the newest one, it returns the newest state; `existing` refuses that.

        Raises:
            NotFound: no stream can have such a version.
        """
        if isinstance(until, int) and not 0 < until < NEWEST:
            raise NotFound("There is no such version.", version=until)
        return await self._store.load_with_head(stream, NEWEST if until is None else until)

    async def last_heartbeat(self, execution: str) -> datetime | None:
        """Return the time of the last heartbeat of an execution, if any. Heartbeats are not events of its history."""
        async with self._store.reader() as connection:
            return (await read_heartbeats(connection, [execution])).get(execution)

    async def at_version(self, stream: str, version: int) -> Versioned[Any]:
        """Return the state after the event with this version.

        Raises:
            NotFound: the stream does not exist or has no such version.
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
        """Return a page of the events of a stream. `types` may have `*` for any characters, and may omit `execution.`.
        `with_states` adds the state of the execution after each event.

        Raises:
            Overloaded: an event is beyond the position `until`, so it must not be shown.
            Invalid: the cursor is not that of such a page.
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
        """Return the envelopes of the first rows, up to the one with which they reach `MOST_BYTES`."""
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
        """Return the RFC 6902 patch from the document at one version to that at a later one. Each operation has the
        `event` that caused it, and its `actor` and `time`.

        Raises:
            Invalid: `to` is before `from`, or more than `FARTHEST` versions after it.
            NotFound: one of the versions does not exist.
            TooExpensive: the comparison takes more than `seconds` of CPU time.
            Damaged: an event between the versions cannot be read.
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
