"""Decides which events a subscriber gets: by type, with globs, and by the filter language of lists."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from api.streaming import frames
from api.streaming.log.entry import Entry
from domain import registry
from domain.errors import Invalid
from domain.globs import fits, meant
from domain.model import Versioned
from projections.executions import columns
from projections.executions.columns import value_in
from projections.query.ast import EVERYTHING, And, Condition
from projections.query.matcher import by_parties, find_required_values, matches, parties_suffice
from projections.query.parser import from_query

LOG = "log"
"""This type asks for log lines, too. They are not events, so `*` does not match them."""
NO_EVENTS = frozenset({LOG, "status_changed"})
"""Types of watchers' frames that are not types of events."""
ORDERS = "order/"
"""The streams of orders begin with this; they have parties, as those of executions do."""
SHORT = "execution."
"""This prefix of a type may be left out."""
MOST_TYPES = 50
LONGEST_SHOWN = 100
TYPES = tuple(event.type for event in registry.EVENTS)
OF_EXECUTIONS = tuple(type_ for type_ in TYPES if type_.startswith(SHORT))


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
        return find_required_values(self._both)

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
        return not self.chooses or self._is_chosen(entry)

    def _is_chosen(self, entry: Entry) -> bool:
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
    single: bool = False,
) -> Filter:
    """The filter of query parameters: `types`, and all that are fields; `single` is that of one execution.

    Raises:
        Invalid: nothing of a type can come, a parameter is no field, or its value does not fit.
    """
    globs = tuple(sorted({glob for glob in (types or "").split(",") if glob}))
    pairs = tuple(sorted(asked))
    of_executions = watched or executions_only or single or bool(pairs)
    require_types(globs, watched=watched, of_executions=of_executions)
    condition = from_query(pairs, columns.field) if pairs else EVERYTHING
    return Filter(globs, pairs, condition, watched and bool(globs), executions_only)


def require_types(globs: Collection[str], *, watched: bool = False, of_executions: bool) -> None:
    """Refuse globs by which nothing can come: of no type of event, of none `of_executions` where only those
    have events, or of frames that only watchers get.

    Raises:
        Invalid: one of them is so, or there are too many.
    """
    if len(globs) > MOST_TYPES:
        raise Invalid.field("types", f"must be at most {MOST_TYPES} types, but are {len(globs)}")
    types = OF_EXECUTIONS if of_executions else TYPES
    for glob in globs:
        if glob in NO_EVENTS:
            if not watched:
                raise Invalid.field(
                    "types",
                    f"must be types of events, but `{glob}` is one of the frames that watchers get",
                )
        elif not _names_one_of(types, glob):
            raise Invalid.field("types", _unknown(glob, types, watched=watched))


def _names_one_of(types: Iterable[str], glob: str) -> bool:
    return any(fits(glob, type_) or fits(glob, type_.removeprefix(SHORT)) for type_ in types)


def _unknown(glob: str, types: Sequence[str], *, watched: bool) -> str:
    """What is said of a glob that no type fits. A mistyped one is known by its last words."""
    shown = glob[:LONGEST_SHOWN]
    if _names_one_of(TYPES, glob):
        return f"must be types of events of executions, but no execution has `{shown}`"
    names = {type_.removeprefix(SHORT): type_ for type_ in types}
    names |= {name: name for name in NO_EVENTS} if watched else {}
    near = meant(glob.lower().removeprefix(SHORT), names)
    return f"must be types of events, but has `{shown}`{near or '; /asyncapi.json lists them'}"
