"""Selects the events that a subscriber gets: by globs of types, and by the filter language of lists."""

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
"""The type that asks for log lines, too. Log lines are not events, so `*` does not match this type."""
NO_EVENTS = frozenset({LOG, "status_changed"})
"""Types of frames for watchers that are not types of events."""
ORDERS = "order/"
"""The prefix of the streams of orders, whose events name a customer and a provider, as those of executions do."""
SHORT = "execution."
"""The prefix that clients may leave out of a type."""
MOST_TYPES = 50
"""The globs that `types` may name."""
LONGEST_SHOWN = 100
"""Characters of a wrong glob that an error repeats."""
TYPES = tuple(event.type for event in registry.EVENTS)
OF_EXECUTIONS = tuple(type_ for type_ in TYPES if type_.startswith(SHORT))


@dataclass(frozen=True)
class Filter:
    """The types and conditions of a stream. Equal filters share a topic group."""

    types: tuple[str, ...] = ()
    asked: tuple[tuple[str, str], ...] = ()
    """The query parameters that `condition` was parsed from."""
    condition: Condition = field(default=EVERYTHING, compare=False)
    watched: bool = False
    """Whether `types` also match the types of frames for watchers."""
    executions_only: bool = False
    """Whether events of other aggregates are left out."""
    scope: Condition = EVERYTHING
    """The condition of the executions and orders whose events the client may see."""
    seen_until: int = 0
    """The position up to which the client may see the stream whatever `scope` says: it was authorized then."""

    @cached_property
    def everything(self) -> bool:
        """Whether every event matches."""
        return not (self.types or self.asked or self.executions_only or self.scope != EVERYTHING)

    @cached_property
    def needs_states(self) -> bool:
        """Whether the state after an event is needed to match the event."""
        return not (parties_suffice(self.condition) and parties_suffice(self.scope))

    @cached_property
    def chooses(self) -> bool:
        """Whether the filter leaves out some executions, as they are not asked for or may not be seen."""
        return bool(self.asked) or self.scope != EVERYTHING

    @cached_property
    def parties(self) -> tuple[tuple[str, Any], ...]:
        """The customers or providers of which every matching event names one; empty where any event may match."""
        return find_required_values(self._scope_and_condition)

    @cached_property
    def logs(self) -> bool:
        """Whether log lines are asked for."""
        return LOG in self.types

    @cached_property
    def _known_types(self) -> dict[str, bool]:
        """Whether `types` match each type that was looked up so far."""
        return {}

    def matches(self, entry: Entry) -> bool:
        """Whether an event matches. Only events of executions have the fields that `asked` names."""
        if (self.asked or self.executions_only) and not entry.of_execution:
            return False
        if self.types and not (self._has_type(entry.type) or self._has_frame_of_type(entry)):
            return False
        return not self.chooses or self._is_selected(entry)

    def _is_selected(self, entry: Entry) -> bool:
        if not entry.of_execution:
            return entry.stream.startswith(ORDERS) and _parties_meet(entry, self._scope_of_orders)
        if entry.position <= self.seen_until and not self.asked:
            return True
        wanted = self.condition if entry.position <= self.seen_until else self._scope_and_condition
        if not self.needs_states:
            return _parties_meet(entry, wanted)
        return entry.states is not None and matches(wanted, value_in(entry.states.after))

    def admits(self, versioned: Versioned[Any] | None) -> bool:
        """Whether an execution in this state matches the conditions."""
        return not self.chooses or (
            versioned is not None and matches(self._scope_and_condition, value_in(versioned))
        )

    @cached_property
    def _scope_and_condition(self) -> Condition:
        return And((self.scope, self.condition))

    @cached_property
    def _scope_of_orders(self) -> Condition:
        return by_parties(self.scope)

    def _has_frame_of_type(self, entry: Entry) -> bool:
        """Whether one of the event's frames for watchers has one of the types."""
        if not self.watched or entry.states is None:
            return False
        return any(map(self._has_type, frames.types(entry.states)))

    def _has_type(self, type_: str) -> bool:
        found = self._known_types.get(type_)
        if found is None:
            names = {type_, type_.removeprefix(SHORT)}
            found = any(fits(glob, name) for glob in self.types for name in names)
            self._known_types[type_] = found
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
    """The filter of the query parameters: `types`, and the pairs of fields that are `asked` for.

    `single`: the stream is of one execution. `watched`: the frames are those for watchers.

    Raises:
        Invalid: no event can match a type, a parameter is no field, or its value is invalid.
    """
    globs = tuple(sorted({glob for glob in (types or "").split(",") if glob}))
    pairs = tuple(sorted(asked))
    of_executions = watched or executions_only or single or bool(pairs)
    require_types(globs, watched=watched, of_executions=of_executions)
    condition = from_query(pairs, columns.field) if pairs else EVERYTHING
    return Filter(globs, pairs, condition, watched and bool(globs), executions_only)


def require_types(globs: Collection[str], *, watched: bool = False, of_executions: bool) -> None:
    """Check that each glob matches a type of event, or of a frame where the stream is `watched`.

    `of_executions`: the stream has events of executions only, so other types of events do not count.

    Raises:
        Invalid: a glob matches none, or there are too many globs.
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
        elif not _matches_any(types, glob):
            raise Invalid.field("types", _unknown_type_text(glob, types, watched=watched))


def _matches_any(types: Iterable[str], glob: str) -> bool:
    return any(fits(glob, type_) or fits(glob, type_.removeprefix(SHORT)) for type_ in types)


def _unknown_type_text(glob: str, types: Sequence[str], *, watched: bool) -> str:
    """The error text for a glob that matches no type; suggests the type that was probably meant."""
    shown = glob[:LONGEST_SHOWN]
    if _matches_any(TYPES, glob):
        return f"must be types of events of executions, but no execution has `{shown}`"
    names = {type_.removeprefix(SHORT): type_ for type_ in types}
    names |= {name: name for name in NO_EVENTS} if watched else {}
    suggestion = meant(glob.lower().removeprefix(SHORT), names)
    return (
        f"must be types of events, but has `{shown}`{suggestion or '; /asyncapi.json lists them'}"
    )
