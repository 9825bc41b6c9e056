"""What of the log a caller reaches: for each right the condition that an execution has to meet.

One object serves every way of asking: it is a condition of the filter language for lists, a predicate
for states, and a pair of a field and a value where a total is stored by customer or provider.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Any, NamedTuple

from api.access.rights import ROLES, Right, Role
from domain.errors import Forbidden
from domain.execution.state import Execution
from domain.model import Versioned
from domain.writer.message import Permits
from projections.executions.columns import FIELDS, value_in
from projections.query.as_json import as_json
from projections.query.ast import EVERYTHING, And, Compare, Condition, Or
from projections.query.matcher import by_parties, find_required_values, matches, parties_suffice

NOTHING = Or(())
"""What no execution meets."""
OWNERS: dict[Role, tuple[str, ...]] = {
    Role.CUSTOMER: ("customer",),
    Role.PROVIDER: ("provider",),
    Role.ASSIGNEE: ("assignee.id", "claimedBy.worker"),
}
"""The fields by which an execution is that of a caller with the role: one of them is its name there."""
NAMING = frozenset(path for paths in OWNERS.values() for path in paths)


class Reach(NamedTuple):
    """The executions that meet a condition, and what one may do with them."""

    condition: Condition
    rights: frozenset[Right]


@dataclass(frozen=True)
class Scope:
    """Everything that one caller reaches. Equal scopes reach the same."""

    reaches: tuple[Reach, ...] = ()
    _conditions: dict[Right, Condition] = field(default_factory=dict, compare=False, repr=False)

    @property
    def rights(self) -> frozenset[Right]:
        """What the caller may do with anything at all."""
        return frozenset[Right]().union(*(reach.rights for reach in self.reaches))

    def condition(self, right: Right) -> Condition:
        """What an execution has to meet for a right; `EVERYTHING` where it needs nothing."""
        found = self._conditions.get(right)
        if found is None:
            found = self._conditions[right] = _any_of(
                reach.condition for reach in self.reaches if right in reach.rights
            )
        return found

    def is_unlimited(self, right: Right) -> bool:
        """Whether the right holds for all there is."""
        return self.condition(right) == EVERYTHING

    def within(self, right: Right, condition: Condition) -> Condition:
        """A condition, and that of the scope as well."""
        own = self.condition(right)
        if own == EVERYTHING:
            return condition
        parts = condition.parts if isinstance(condition, And) else (condition,)
        limits = own.parts if isinstance(own, And) else (own,)
        return And(tuple(dict.fromkeys((*limits, *parts))))

    def filter(self, right: Right) -> dict[str, Any] | None:
        """The condition as JSON of the filter language, to be kept; None where it needs nothing."""
        own = self.condition(right)
        return None if own == EVERYTHING else as_json(own)

    def permits(self, right: Right) -> Permits | None:
        """Tells of a state whether the right holds for it; None where it holds for all.

        What tells raises Forbidden where the caller may see the state, but not do this with it.
        """
        own, readable = self.condition(right), self.condition(Right.READ_EXECUTIONS)
        if own == EVERYTHING:
            return None

        def permits(versioned: Versioned[Any]) -> bool:
            if meets(own, versioned):
                return True
            if own != readable and meets(readable, versioned):
                raise Forbidden(f"This needs the right `{right}` for this {_kind(versioned)}.")
            return False

        return permits

    def parties(self, right: Right) -> list[tuple[str, str]]:
        """The parties for whose executions the right holds, each as a field and its value."""
        return [
            pair
            for found in self._reached_conditions(right)
            for pair in find_required_values(found)
        ]

    def owners(self, right: Right) -> list[tuple[tuple[str, str], ...]]:
        """The same with assignees: each execution for which the right holds has all pairs of one of these."""
        return [
            pairs for found in self._reached_conditions(right) for pairs in _alternatives(found)
        ]

    def names(self, right: Right) -> frozenset[str]:
        """The ids by which the caller is known where it has the right: as a party, and as an assignee. What it was
        granted of others names them, and not the caller.
        """
        own = (
            reached
            for reached in self._reached_conditions(right)
            if parties_suffice(reached, NAMING)
        )
        return frozenset(
            name for reached in own for _, name in find_required_values(reached, NAMING)
        )

    def values_of(self, right: Right, path: str) -> frozenset[Any]:
        """The values of a field to which the right is limited where it names any, such as a granted order."""
        found = (
            find_required_values(reached, frozenset({path}))
            for reached in self._reached_conditions(right)
        )
        return frozenset(value for pairs in found for _, value in pairs)

    def _reached_conditions(self, right: Right) -> list[Condition]:
        return [reach.condition for reach in self.reaches if right in reach.rights]


def meets(condition: Condition, versioned: Versioned[Any]) -> bool:
    """Whether an aggregate meets the condition of a scope. Others than executions have their parties alone:
    what has none meets no condition.
    """
    if isinstance(versioned.state, Execution):
        return matches(condition, value_in(versioned))
    parties = dict(zip(("customer", "provider"), versioned.state.parties, strict=True))
    return matches(by_parties(condition), lambda wanted: parties.get(wanted.path))


def maker_of(versioned: Versioned[Any]) -> str | None:
    """The actor to whom alone something belongs; None where it belongs to its parties, or to all."""
    maker: str | None = getattr(versioned.state, "maker", None)
    return maker


def _kind(versioned: Versioned[Any]) -> str:
    return type(versioned.state).__name__.lower()


def reach_of_owner(role: Role, name: str, **within: str | None) -> Reach:
    """What a role reaches by the name that the caller has in it: of that what has all parties that are given, too."""
    parts = tuple(Compare(FIELDS[path], "$in", (name,)) for path in OWNERS[role])
    own: Condition = And(parts) if len(parts) == 1 else Or(parts)
    named = [(path, party) for path, party in within.items() if party is not None]
    limits = [Compare(FIELDS[path], "$in", (party,)) for path, party in named]
    return Reach(And((own, *limits)) if limits else own, ROLES[role])


WHOLE = Scope((Reach(EVERYTHING, ROLES[Role.ADMIN]),))
OPERATING = Reach(NOTHING, ROLES[Role.OPERATOR])
AUDITING = Reach(NOTHING, ROLES[Role.AUDITOR])
"""What an auditor reaches by itself. What it was granted is added when a request is admitted (`grants`)."""
OF_NOBODY = {Role.ADMIN: WHOLE.reaches[0], Role.OPERATOR: OPERATING, Role.AUDITOR: AUDITING}
"""What roles reach that own no executions."""


class Identity(NamedTuple):
    """What a credential says of its holder: its roles, whose executions they are for, and who it is itself.
    `rights` narrow those of the roles; None leaves them all.
    """

    roles: tuple[Role, ...]
    customer: str | None = None
    provider: str | None = None
    subject: str | None = None
    rights: frozenset[Right] | None = None

    @property
    def scope(self) -> Scope:
        """What it reaches.

        A customer, a provider and an assignee (by its `subject`) reach their own executions, each nothing without
        its name; an auditor nothing but what it was granted (see `AUDITING`).
        """
        reaches = [reach for role in dict.fromkeys(self.roles) for reach in self._reaches(role)]
        if self.rights is not None:
            allowed = self.rights | {Right.OPEN, Right.SELF}
            reaches = [Reach(reach.condition, reach.rights & allowed) for reach in reaches]
        return Scope(tuple(reaches))

    def _reaches(self, role: Role) -> list[Reach]:
        """What one role reaches. The names of assignees and workers are of the whole log: where a customer or a
        provider is given, an assignee reaches only what is theirs as well.
        """
        match role:
            case Role.CUSTOMER if self.customer:
                return [reach_of_owner(role, self.customer)]
            case Role.PROVIDER if self.provider:
                return [reach_of_owner(role, self.provider)]
            case Role.ASSIGNEE if self.subject:
                return [
                    reach_of_owner(
                        role, self.subject, customer=self.customer, provider=self.provider
                    )
                ]
        return [OF_NOBODY[role]] if role in OF_NOBODY else []


def _alternatives(condition: Condition) -> list[tuple[tuple[str, str], ...]]:
    """Pairs of field and value, all of one of which everything has that is somebody's by its names."""
    match condition:
        case And(parts):
            return [tuple(chain(*each)) for each in product(*map(_alternatives, parts))]
        case Or(parts):
            return list(chain(*map(_alternatives, parts)))
        case Compare(field, "$in", operands) if field.path in NAMING:
            return [((field.path, operand),) for operand in operands]
    raise TypeError(condition)


def _any_of(conditions: Iterable[Condition]) -> Condition:
    found = tuple(dict.fromkeys(conditions))
    if EVERYTHING in found:
        return EVERYTHING
    return found[0] if len(found) == 1 else Or(found)
