"""Time travel, straight from the log: any version, any instant, each event, and who changed what."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from domain.errors import Invalid, NotFound
from domain.eventlog.codec import Stored, plain_json
from domain.eventlog.encryption import DataKey
from domain.eventlog.states import states_along
from domain.eventlog.store import Store
from domain.json_forms import format_time
from domain.model import Held, Recorded, replay
from projections.history.json_patch import Blame, Caused
from projections.representations.cloudevents import envelope
from projections.representations.execution import document

NEWEST = 2**62
FARTHEST = 1_000
SHORT = "execution."

PAGE = """SELECT notification_id, originator_version, at, originator_id, topic, meta, state
    FROM events WHERE originator_id = %b AND originator_version > %b AND originator_version < %b
        AND (%b::text[] IS NULL OR topic LIKE ANY (%b::text[]))
    ORDER BY originator_version {direction} LIMIT %b"""
FORWARDS, BACKWARDS = PAGE.format(direction="ASC"), PAGE.format(direction="DESC")


class EventPage(NamedTuple):
    """CloudEvents envelopes, each a JSON object in bytes, and the cursor of the next page, if any."""

    envelopes: list[bytes]
    next_cursor: str | None


class History:
    """Reads the log itself, so it is always current and needs no tables."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def at_version(self, stream: str, version: int) -> Held[Any]:
        """The state after the event with this version.

        Raises:
            NotFound: the stream has, or had until now, no such version.
        """
        held = await self._store.load(stream, version) if 0 < version < NEWEST else None
        if held is None or held.version != version:
            raise NotFound("There is no such version.", version=version)
        return held

    async def at_time(self, stream: str, at: datetime) -> Held[Any]:
        """The state that was recorded at a time; when things occurred does not matter here.

        Raises:
            NotFound: the first event was recorded later, or there is none.
        """
        version = await self._store.version_at(stream, at)
        if version == 0:
            raise NotFound("Nothing was recorded here by that time.", at=format_time(at))
        return await self.at_version(stream, version)

    async def events(
        self,
        stream: str,
        *,
        types: Sequence[str] = (),
        descending: bool = False,
        limit: int = 50,
        cursor: str | None = None,
        with_states: bool = False,
    ) -> EventPage:
        """One page of a stream's events, `types` with `*` for any characters and, if you like,
        without `execution.`; `with_states` shows what the execution was after each.

        Raises:
            Invalid: the cursor is not one of these pages.
            NotFound: there is no such stream.
        """
        after, before = _bounds(cursor, descending=descending)
        patterns = [short + _pattern(glob) for glob in types for short in ("", SHORT)] or None
        async with self._store.reader() as connection:
            rows = await connection.execute(
                BACKWARDS if descending else FORWARDS,
                (stream, after, before, patterns, patterns, limit + 1),
                binary=True,
            )
            found = [Stored(*row) for row in await rows.fetchall()]
        if not found and not await self._store.history(stream, limit=1):
            raise NotFound
        key = (await self._store.keys([stream]))[stream]
        more = str(found[limit - 1].version) if len(found) > limit else None
        shown = found[:limit]
        states: dict[int, Held[Any]] = {}
        if with_states:
            states = await states_along(self._store, stream, [row.version for row in shown])
        return EventPage([envelope(row, key, states.get(row.version)) for row in shown], more)

    async def diff(self, stream: str, from_version: int, to_version: int) -> list[dict[str, Any]]:
        """The RFC 6902 patch from one version's document to a later one's, each operation with
        the `event`, `actor` and `time` that caused it.

        Raises:
            Invalid: `to` is before `from`, or too far behind it.
            NotFound: one of the versions does not exist.
        """
        if to_version < from_version:
            raise Invalid.field("to", "is before `from`")
        if to_version - from_version > FARTHEST:
            raise Invalid.field("to", f"is more than {FARTHEST} versions after `from`")
        first = await self.at_version(stream, from_version)
        rows = await self._store.history(stream, from_version, to_version)
        if from_version + len(rows) != to_version:
            raise NotFound("There is no such version.", version=to_version)
        key = (await self._store.keys([stream]))[stream]
        events = [self._store.codec.decode(row, key) for row in rows]
        return [_operation(caused) for caused in await _caused(first, events, key)]


async def _caused(
    first: Held[Any], events: Sequence[Recorded], key: DataKey | None
) -> Iterator[Caused[Recorded]]:
    held: Held[Any] | None = first
    begin = before = _shown(first, key)
    blame: Blame[Recorded] = Blame()
    for event in events:
        held = replay(held, [event])
        assert held is not None
        after = _shown(held, key)
        blame.note(event, before, after)
        before = after
        await asyncio.sleep(0)  # with thousands of steps each event takes long
    return blame.patch(begin, before)


def _shown(held: Held[Any], key: DataKey | None) -> dict[str, Any]:
    shown = document(held, held.at)
    if key is not None:
        return shown
    opened: dict[str, Any] = orjson.loads(plain_json(shown))  # what was erased
    return opened


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
        raise Invalid.field("cursor", "is not a cursor of these pages")
    return (0, int(cursor)) if descending else (int(cursor), NEWEST)


def _pattern(glob: str) -> str:
    literal = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return literal.replace("*", "%")
