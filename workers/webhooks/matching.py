"""Which webhooks of the whole log an event is owed to, found by what they ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import orjson

from domain import registry
from domain.damage import reason
from domain.errors import Damaged
from domain.eventlog.codec import EventRow
from domain.execution.events.lifecycle import ExecutionFailed
from domain.execution.webhook_events import matches as names_match
from domain.json_forms import parse_time
from domain.model import Versioned
from projections.executions import columns
from projections.executions.columns import value_in
from projections.query.ast import EVERYTHING, And, Condition
from projections.query.matcher import by_parties, find_required_values, matches, parties_suffice
from projections.query.parser import from_json

BY_STATE = frozenset({"service", "order"})
"""Fields that a state has, by which webhooks are found that are not found by a party."""
EXECUTION = "execution/"
TYPES = tuple(event.type for event in registry.EVENTS)
IMPORTED = timedelta(days=1)
"""An event recorded so long after it happened was imported: it is history, and is sent to nobody."""


class UnreadableHook(Damaged):
    """What this webhook asks for cannot be read by this version of the service."""


@dataclass(frozen=True)
class HookFilter:
    """A webhook of the whole log, and what it asks for; events after `since` are owed to it. Its maker may see
    executions and orders that meet `scope`, and nothing else, where that is not everything.
    """

    webhook: str
    since: int
    endpoint: str
    events: tuple[str, ...]
    condition: Condition = EVERYTHING
    scope: Condition = EVERYTHING

    @classmethod
    def read(
        cls,
        webhook: str,
        since: int,
        endpoint: str,
        events: Iterable[str],
        filter_: str | None,
        *,
        scope: str | None = None,
    ) -> HookFilter:
        """From a row of the table `webhooks`.

        Raises:
            UnreadableHook: this program cannot read it: another one wrote it, or it is damaged.
        """
        try:
            asked, seen = condition_of(filter_), condition_of(scope)
            read = cls(webhook, since, endpoint, tuple(events), asked, seen)
            HookIndex([read])
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            raise UnreadableHook(reason=reason(error), stream=f"webhook/{webhook}") from None
        return read

    @property
    def types(self) -> list[str]:
        """The types of events that it asks for; only executions have the fields of a condition."""
        only = ("",) if self.scope == EVERYTHING else ("execution.", "order.")
        if self.condition != EVERYTHING:
            only = ("execution.",)
        return [
            type_ for type_ in TYPES if type_.startswith(only) and names_match(self.events, type_)
        ]

    @cached_property
    def both(self) -> Condition:
        """What an execution has to meet."""
        return And((self.scope, self.condition))

    @cached_property
    def needs_states(self) -> bool:
        """Whether deciding takes the state after an event."""
        return not parties_suffice(self.both)

    @cached_property
    def _of_orders(self) -> Condition:
        return by_parties(self.scope)

    def asks_for(self, event: LoggedEvent) -> bool:
        """Whether it asks for an event of a type of its own, whatever else it asks for. Its own are not sent."""
        if event.row.position <= self.since or event.row.stream == f"webhook/{self.webhook}":
            return False
        return event.final or names_match(self.events, event.row.type, final=False)

    def wants(self, event: LoggedEvent, after: Versioned[Any] | None) -> bool:
        """Whether an event of a type that it asks for is owed to it."""
        if not self.asks_for(event):
            return False
        if not event.row.stream.startswith(EXECUTION):
            return event.parties_meet(self._of_orders)
        if not self.needs_states:
            return event.parties_meet(self.both)
        return after is not None and matches(self.both, value_in(after))


def condition_of(filter_: str | None) -> Condition:
    """The condition of a stored filter, which was checked when it came."""
    if filter_ is None:
        return EVERYTHING
    return from_json(orjson.loads(filter_), columns.field)


class LoggedEvent(NamedTuple):
    """An event of the log, with what of it decides which webhooks get it."""

    row: EventRow
    parties: dict[str, str | None]
    final: bool
    imported: bool

    @classmethod
    def read(cls, row: EventRow) -> LoggedEvent:
        """From its row. Only that of a failure needs its data.

        Raises:
            Damaged: its metadata cannot be read.
        """
        try:
            meta = orjson.loads(row.meta)
            parties = {"customer": meta.get("customer"), "provider": meta.get("provider")}
            occurred_at = meta.get("occurredAt")
            imported = occurred_at is not None and is_imported(row.at, parse_time(occurred_at))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it quotes content
            fault = f"its metadata: {reason(error)}"
            raise Damaged(reason=fault, stream=row.stream, version=row.version) from None
        return cls(row, parties, _final(row), imported)

    def parties_meet(self, condition: Condition) -> bool:
        """Whether a condition holds that asks for its parties alone."""
        return matches(condition, lambda wanted: self.parties.get(wanted.path))


def is_imported(at: datetime, occurred_at: datetime) -> bool:
    """Whether an event was recorded so late that it is history, which is sent to nobody."""
    return at - occurred_at > IMPORTED


def _final(row: EventRow) -> bool:
    if row.type != ExecutionFailed.type:
        return True
    try:
        return orjson.loads(row.data).get("final") is not False
    except (ValueError, AttributeError):  # it is damaged, and is sent as such
        return True


HooksByValue = dict[tuple[str, Any], list[HookFilter]]


@dataclass
class _HooksOfType:
    """The webhooks that ask for a type of event, by what else they ask for."""

    anywhere: list[HookFilter] = field(default_factory=list)
    by_party: HooksByValue = field(default_factory=dict)
    by_state: HooksByValue = field(default_factory=dict)
    needs_states: bool = False

    def add(self, hook: HookFilter) -> None:
        self.needs_states = self.needs_states or hook.needs_states
        if parties := find_required_values(hook.both):
            for pair in parties:
                self.by_party.setdefault(pair, []).append(hook)
        elif values := find_required_values(hook.condition, BY_STATE):
            for pair in values:
                self.by_state.setdefault(pair, []).append(hook)
        else:
            self.anywhere.append(hook)

    def candidates(self, event: LoggedEvent, after: Versioned[Any] | None) -> Iterator[HookFilter]:
        yield from self.anywhere
        for pair in event.parties.items():
            yield from self.by_party.get(pair, ())
        if self.by_state and after is not None:
            for name in BY_STATE:
                yield from self.by_state.get((name, getattr(after.state, name)), ())

    def find_undecided(self, event: LoggedEvent) -> Iterator[HookFilter]:
        """The candidates for an event, whatever the state after it is."""
        yield from self.candidates(event, None)
        yield from chain(*self.by_state.values())


class HookIndex:
    """Webhooks of the whole log. An event costs only those that it may concern."""

    def __init__(self, hooks: Iterable[HookFilter] = ()) -> None:
        self._types: dict[str, _HooksOfType] = {}
        for hook in hooks:
            for type_ in hook.types:
                self._types.setdefault(type_, _HooksOfType()).add(hook)

    @property
    def types(self) -> list[str]:
        """The types of events that any of them asks for."""
        return list(self._types)

    def needs_state(self, event: LoggedEvent) -> bool:
        """Whether deciding takes the state after an event."""
        found = self._types.get(event.row.type)
        return found is not None and found.needs_states and event.row.stream.startswith(EXECUTION)

    def find_undecided(self, event: LoggedEvent) -> list[HookFilter]:
        """The webhooks that may be owed an event, as far as that can be said without the state after it."""
        found = self._types.get(event.row.type)
        if found is None or event.imported:
            return []
        candidates = {hook.webhook: hook for hook in found.find_undecided(event)}
        return [hook for hook in candidates.values() if hook.needs_states and hook.asks_for(event)]

    def find(self, event: LoggedEvent, after: Versioned[Any] | None) -> list[HookFilter]:
        """The webhooks that an event is owed to."""
        found = self._types.get(event.row.type)
        if found is None or event.imported:
            return []
        candidates = {hook.webhook: hook for hook in found.candidates(event, after)}
        return [hook for hook in candidates.values() if hook.wants(event, after)]
