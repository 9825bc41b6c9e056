"""The scope of a caller: for each right, the condition that an execution has to meet.

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
"""The condition that no execution meets."""
OWNERS: dict[Role, tuple[str, ...]] = {
    Role.CUSTOMER: ("customer",),
    Role.PROVIDER: ("provider",),
    Role.ASSIGNEE: ("assignee.id", "claimedBy.worker"),
}
"""The fields by which an execution belongs to a caller with the role: one of them has the caller's name."""
NAMING = frozenset(path for paths in OWNERS.values() for path in paths)


class Reach(NamedTuple):
    """A condition, and the rights for the executions that meet it."""

    condition: Condition
    rights: frozenset[Right]


@dataclass(frozen=True)
class Scope:
    """Everything that one caller reaches."""

    reaches: tuple[Reach, ...] = ()
    _conditions: dict[Right, Condition] = field(default_factory=dict, compare=False, repr=False)

    @property
    def rights(self) -> frozenset[Right]:
        """The rights that the caller has for at least some executions."""
        return frozenset[Right]().union(*(reach.rights for reach in self.reaches))

    def condition(self, right: Right) -> Condition:
        """The condition that an execution has to meet for a right; `EVERYTHING` where the right holds for all."""
        found = self._conditions.get(right)
        if found is None:
            found = self._conditions[right] = _any_of(
                reach.condition for reach in self.reaches if right in reach.rights
            )
        return found

    def is_unlimited(self, right: Right) -> bool:
        """Whether a right holds for everything."""
        return self.condition(right) == EVERYTHING

    def within(self, right: Right, condition: Condition) -> Condition:
        """The conjunction of a condition and that of the scope."""
        own = self.condition(right)
        if own == EVERYTHING:
            return condition
        parts = condition.parts if isinstance(condition, And) else (condition,)
        limits = own.parts if isinstance(own, And) else (own,)
        return And(tuple(dict.fromkeys((*limits, *parts))))

    def filter(self, *rights: Right) -> dict[str, Any] | None:
        """The condition of having all of these rights as JSON of the filter language, to be stored; None where they hold for
        all.
        """
        own = _any_of(each.condition for each in self.reaches if each.rights.issuperset(rights))
        return None if own == EVERYTHING else as_json(own)

    def permits(self, right: Right) -> Permits | None:
        """A function that returns whether a right holds for a state; None where the right holds for all states.

        The function raises Forbidden where the caller may read the state, but has not this right for it.
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
        """The parties for whose executions a right holds, each as a field and its value."""
        return [
            pair
            for found in self._reached_conditions(right)
            for pair in find_required_values(found)
        ]

    def owners(self, right: Right) -> list[tuple[tuple[str, str], ...]]:
        """Alternatives of pairs of a field and a value, assignees among them: an execution for which the right holds has
        all pairs of one alternative.
        """
        return [
            pairs for found in self._reached_conditions(right) for pairs in _alternatives(found)
        ]

    def names(self, right: Right) -> frozenset[str]:
        """The ids of the caller where it has the right: as a party, and as an assignee. Granted executions are left out,
        as their conditions name other parties.
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
        """The values of a field to which the right is limited, such as the ids of granted orders."""
        found = (
            find_required_values(reached, frozenset({path}))
            for reached in self._reached_conditions(right)
        )
        return frozenset(value for pairs in found for _, value in pairs)

    def _reached_conditions(self, right: Right) -> list[Condition]:
        return [reach.condition for reach in self.reaches if right in reach.rights]


def meets(condition: Condition, versioned: Versioned[Any]) -> bool:
    """Whether an aggregate meets the condition of a scope. Aggregates other than executions are compared by their
    parties only; one without parties meets no condition.
    """
    if isinstance(versioned.state, Execution):
        return matches(condition, value_in(versioned))
    parties = dict(zip(("customer", "provider"), versioned.state.parties, strict=True))
    return matches(by_parties(condition), lambda wanted: parties.get(wanted.path))


def maker_of(versioned: Versioned[Any]) -> str | None:
    """The only actor that an aggregate belongs to; None where it belongs to its parties, or to all."""
    maker: str | None = getattr(versioned.state, "maker", None)
    return maker


def _kind(versioned: Versioned[Any]) -> str:
    return type(versioned.state).__name__.lower()


def reach_of_owner(role: Role, name: str, **within: str | None) -> Reach:
    """The reach of a role: the executions with the caller's name in a field of the role, and `within` the given
    parties.
    """
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
"""The reach of each role that owns no executions."""


class Identity(NamedTuple):
    """The identity of a credential's holder: its roles, the parties whose executions they are for, and its own id.

    `rights` narrow the rights of the roles; None leaves all of them.
    """

    roles: tuple[Role, ...]
    customer: str | None = None
    provider: str | None = None
    subject: str | None = None
    rights: frozenset[Right] | None = None

    @property
    def scope(self) -> Scope:
        """The scope of the identity.

        A customer, a provider and an assignee (by its `subject`) reach their own executions, and nothing without a
        name. An auditor reaches only granted executions (see `AUDITING`).
        """
        reaches = [reach for role in dict.fromkeys(self.roles) for reach in self._reaches(role)]
        if self.rights is not None:
            allowed = self.rights | {Right.OPEN, Right.SELF}
            reaches = [Reach(reach.condition, reach.rights & allowed) for reach in reaches]
        return Scope(tuple(reaches))

    def _reaches(self, role: Role) -> list[Reach]:
        """The reaches of one role. Two providers may give assignees the same name: where a customer or a provider is
        given, an assignee reaches only executions of that party.
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
    """The alternatives of a condition on `NAMING` fields, each as pairs that all have to hold."""
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
