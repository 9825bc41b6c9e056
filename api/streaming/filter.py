"""Which events a subscriber wants: types with globs, and the filter language of lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from api.streaming import frames
from api.streaming.log.entry import Entry
from domain import registry
from domain.errors import Invalid
from domain.globs import fits
from domain.model import Versioned
from projections.executions import columns
from projections.executions.columns import value_in
from projections.query.ast import EVERYTHING, And, Condition
from projections.query.matcher import by_parties, matches, parties_suffice, required_values
from projections.query.parser import from_query

TYPE = re.compile(r"[a-z*][a-z._*]{0,100}")
LOG = "log"
"""This type asks for log lines, too. They are not events, so `*` does not match them."""
NO_EVENTS = frozenset({LOG, "status_changed"})
"""Types of watchers' frames that are not types of events."""
ORDERS = "order/"
"""The streams of orders begin with this; they have parties, as those of executions do."""
SHORT = "execution."
"""This prefix of a type may be left out."""
MOST_TYPES = 50
EVENT_TYPES = sorted(
    {name for event in registry.EVENTS for name in (event.type, event.type.removeprefix(SHORT))}
)
"""The types of events, in full and in short."""


@dataclass(frozen=True)
class Filter:
    """What a client asked for. Equal filters share a topic group."""

    types: tuple[str, ...] = ()
    asked: tuple[tuple[str, str], ...] = ()
    condition: Condition = field(default=EVERYTHING, compare=False)
    watched: bool = False
    """Whether types are also those of the frames of watchers."""
    executions_only: bool = False
    """Whether events of other aggregates are left out."""
    scope: Condition = EVERYTHING
    """What the client may see: of executions and orders that meet this, and of nothing else."""
    seen_until: int = 0
    """Up to this position the client may see all of the stream, as it was let in then."""

    @cached_property
    def everything(self) -> bool:
        """Whether every event matches."""
        return not (self.types or self.asked or self.executions_only or self.scope != EVERYTHING)

    @cached_property
    def needs_states(self) -> bool:
        """Whether deciding takes the state after an event."""
        return not (parties_suffice(self.condition) and parties_suffice(self.scope))

    @cached_property
    def chooses(self) -> bool:
        """Whether only some executions are wanted, or may be seen."""
        return bool(self.asked) or self.scope != EVERYTHING

    @cached_property
    def parties(self) -> tuple[tuple[str, Any], ...]:
        """Every event that matches names one of these customers or providers; empty for any."""
        return required_values(self._both)

    @cached_property
    def logs(self) -> bool:
        """Whether log lines are asked for."""
        return LOG in self.types

    @cached_property
    def _known(self) -> dict[str, bool]:
        return {}

    def matches(self, entry: Entry) -> bool:
        """Whether an event is wanted. Only executions have the fields that are asked for."""
        if (self.asked or self.executions_only) and not entry.of_execution:
            return False
        if self.types and not (self._of_type(entry.type) or self._shows(entry)):
            return False
        return not self.chooses or self._chosen(entry)

    def _chosen(self, entry: Entry) -> bool:
        if not entry.of_execution:
            return entry.stream.startswith(ORDERS) and _parties_meet(entry, self._of_orders)
        if entry.position <= self.seen_until and not self.asked:
            return True
        wanted = self.condition if entry.position <= self.seen_until else self._both
        if not self.needs_states:
            return _parties_meet(entry, wanted)
        return entry.states is not None and matches(wanted, value_in(entry.states.after))

    def admits(self, versioned: Versioned[Any] | None) -> bool:
        """Whether an execution as it is now is wanted."""
        return not self.chooses or (
            versioned is not None and matches(self._both, value_in(versioned))
        )

    @cached_property
    def _both(self) -> Condition:
        return And((self.scope, self.condition))

    @cached_property
    def _of_orders(self) -> Condition:
        return by_parties(self.scope)

    def _shows(self, entry: Entry) -> bool:
        """Whether the event gives watchers a frame of one of the types."""
        if not self.watched or entry.states is None:
            return False
        return any(map(self._of_type, frames.types(entry.states)))

    def _of_type(self, type_: str) -> bool:
        found = self._known.get(type_)
        if found is None:
            names = {type_, type_.removeprefix(SHORT)}
            found = any(fits(glob, name) for glob in self.types for name in names)
            self._known[type_] = found
        return found


def _parties_meet(entry: Entry, condition: Condition) -> bool:
    parties = entry.parties
    return matches(condition, lambda wanted: parties.get(wanted.path))


def read(
    types: str | None,
    asked: Iterable[tuple[str, str]],
    *,
    watched: bool = False,
    executions_only: bool = False,
) -> Filter:
    """The filter of query parameters: `types`, and all that are fields.

    Raises:
        Invalid: a type cannot be one, a parameter is no field, or its value does not fit.
    """
    globs = tuple(sorted({glob for glob in (types or "").split(",") if glob}))
    if len(globs) > MOST_TYPES or not all(map(TYPE.fullmatch, globs)):
        raise Invalid.field(
            "types", f"must be at most {MOST_TYPES} types like execution.step.*, comma-separated"
        )
    known_types(globs, watched=watched)
    pairs = tuple(sorted(asked))
    condition = from_query(pairs, columns.field) if pairs else EVERYTHING
    return Filter(globs, pairs, condition, watched and bool(globs), executions_only)


def known_types(globs: Iterable[str], *, watched: bool = False) -> None:
    """Raises Invalid: a glob means no type of event, or a type that only watchers know."""
    for glob in globs:
        if glob in NO_EVENTS:
            if not watched:
                raise Invalid.field(
                    "types",
                    f"must be types of events, but `{glob}` is one of the frames that watchers get",
                )
        elif not any(fits(glob, name) for name in EVENT_TYPES):
            raise Invalid.field("types", f"must be types of events, but has `{glob}`{_near(glob)}")


def _near(glob: str) -> str:
    """Types whose last words, the ones that tell them apart, are like those of a mistyped one."""
    words = glob.removeprefix(SHORT)
    short = {event.type.removeprefix(SHORT): event.type for event in registry.EVENTS}
    near = [short[name] for name in get_close_matches(words, short, 3, cutoff=0.7)]
    return f"; did you mean {' or '.join(near)}?" if near else "; /asyncapi.json lists them"
