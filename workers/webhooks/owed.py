"""Finds which webhooks the events of the log are owed to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.damage import reason, report
from domain.errors import Damaged
from domain.eventlog.archive.archived_queries import fetch_of_span, fetch_of_streams
from domain.eventlog.codec import EventRow
from domain.eventlog.store import Store
from domain.execution.webhook_events import matches as names_match
from projections.deliveries import owed_queries as sql
from projections.deliveries.queue import Owed
from workers.webhooks.event_states import EventStates, FoundStates
from workers.webhooks.matching import HookFilter, HookIndex, LoggedEvent, UnreadableHook


class FoundOwed(NamedTuple):
    """The events that webhooks are owed, and the `undecided` webhooks: their filters need a state that is in an unavailable
    archive, or what they ask for cannot be read. `owed` has nothing for those.
    """

    owed: list[Owed]
    undecided: set[str]


class ExecutionHook(NamedTuple):
    """A webhook of an execution, and the events that it asks for. It is owed events after the position `since`."""

    webhook: str
    since: int
    endpoint: str
    events: Sequence[str]

    def find_owed(self, row: EventRow) -> Owed | None:
        """Return what the webhook is owed for an event of its execution, or None.

        Raises:
            UnreadableHook: what the webhook asks for is damaged.
            Damaged: the event cannot be read.
        """
        event = LoggedEvent.read(row)
        try:
            asked = names_match(tuple(self.events), row.type, final=event.final)
        except (TypeError, AttributeError) as error:
            raise UnreadableHook(reason=reason(error), stream=row.stream) from None
        if not asked or event.imported or row.position <= self.since:
            return None
        return make_owed(self, row)


class OwedFinder:
    """Finds the webhooks of the whole log that events are owed to."""

    def __init__(self, store: Store) -> None:
        self._states = EventStates(store)

    async def find(self, index: HookIndex, rows: Iterable[EventRow]) -> FoundOwed:
        """Find what the webhooks of an index are owed for events."""
        events = list(_events(rows))
        folded = [event.row for event in events if index.needs_state(event)]
        states = await self._states.of(folded) if folded else FoundStates({}, set())
        undecided = {
            hook.webhook
            for event in events
            if event.row.stream in states.away
            for hook in index.find_undecided(event)
        }
        owed = [
            make_owed(hook, row)
            for event in events
            for row in (event.row,)
            for hook in index.find(event, states.states.get((row.stream, row.version)))
            if hook.webhook not in undecided
        ]
        return FoundOwed(owed, undecided)


def make_owed(hook: HookFilter | ExecutionHook, row: EventRow) -> Owed:
    """What a webhook is owed for an event that it asks for."""
    return Owed(hook.webhook, row.position, row.stream, row.version, hook.endpoint)


def _events(rows: Iterable[EventRow]) -> Iterator[LoggedEvent]:
    """The events that can be read; a damaged one is reported and passed over."""
    for row in rows:
        try:
            yield LoggedEvent.read(row)
        except Damaged as error:
            report(error)


async def rows_of_types(
    connection: AsyncConnection, after: int, until: int, types: Sequence[str], limit: int
) -> list[EventRow]:
    """The events in (after, until] of some types, and those of webhooks; at most `limit`."""
    values = (after, until, list(types), limit)
    rows = await fetch_of_span(connection, sql.OF_TYPES, values, after, until)
    return [EventRow(*row) for row in rows]


async def rows_of_stream(
    connection: AsyncConnection, stream: str, after: int, until: int, limit: int
) -> list[EventRow]:
    """The events of a stream in (after, until], at most `limit`."""
    values = (stream, after, until, limit)
    rows = await fetch_of_streams(connection, sql.OF_STREAM, values, [stream])
    return [EventRow(*row) for row in rows]


async def owed_to_executions(connection: AsyncConnection, after: int, until: int) -> FoundOwed:
    """What the webhooks of executions are owed for the events in (after, until], without the webhooks that are catching up."""
    cursor = await connection.execute(sql.OF_EXECUTIONS, (after, until), prepare=False, binary=True)
    rows = await cursor.fetchall()
    return owed_to((ExecutionHook(*row[:4]), EventRow(*row[4:])) for row in rows)


def owed_to(pairs: Iterable[tuple[ExecutionHook, EventRow]]) -> FoundOwed:
    """What each webhook of a pair is owed for the event of the pair. A damaged event is reported and passed over."""
    owed: list[Owed] = []
    undecided: set[str] = set()
    for hook, row in pairs:
        try:
            if (found := hook.find_owed(row)) is not None:
                owed.append(found)
        except UnreadableHook as error:
            undecided.add(hook.webhook)
            report(error)
        except Damaged as error:
            report(error)
    return FoundOwed([each for each in owed if each.webhook not in undecided], undecided)
