"""A scope as a condition of queries, as a predicate, and as parties."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from api.access.identity import Caller
from api.access.rights import COMMANDS, ROLES, Right, Role
from api.access.scope import NOTHING, OPERATING, WHOLE, Reach, Scope, meets, reach_of_owner
from api.access.visibility import Visibility
from domain import registry
from domain.access.key import CreateKey, RevokeKey
from domain.access.session import EndSession, StartSession
from domain.catalog.order import Order
from domain.catalog.user import User
from domain.errors import Damaged, Forbidden, NotFound
from domain.eventlog.access.parties import Parties
from domain.execution.commands.claims import ClaimExecution
from domain.execution.commands.erase import EraseExecution
from domain.execution.commands.fork import ForkExecution
from domain.execution.commands.log import AppendLogLines
from domain.jobs.job import Job
from domain.model import Recorded, Versioned
from projections.executions.columns import field
from projections.query.ast import EVERYTHING
from projections.query.parser import from_json
from tests.support.event_writer import created

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
CUSTOMER = reach_of_owner(Role.CUSTOMER, "c-1")
PROVIDER = reach_of_owner(Role.PROVIDER, "p-1")
ASSIGNEE = reach_of_owner(Role.ASSIGNEE, "ann")


def execution(**members: Any) -> Versioned[Any]:
    event = created("e", **members).event
    recorded = Recorded("execution/e", 1, 1, AT, event, "tester")
    return Versioned(event.apply(None, recorded), 1, 1, AT)


def test_commands_that_clients_send_have_a_right_each() -> None:
    sent = {name for commands in registry.COMMANDS.values() for name in commands}
    others = {each.wire_name for each in (ClaimExecution, ForkExecution, AppendLogLines)}
    others |= {CreateKey.wire_name, RevokeKey.wire_name}
    others.add(EraseExecution.wire_name)
    others |= {StartSession.wire_name, EndSession.wire_name}
    assert sent | others == COMMANDS.keys()


@pytest.mark.parametrize(
    ("reach", "members", "reached"),
    [
        (CUSTOMER, {"customer": "c-1"}, True),
        (CUSTOMER, {"customer": "c-2"}, False),
        (CUSTOMER, {"customer": "c-2", "provider": "c-1"}, False),
        (PROVIDER, {"provider": "p-1"}, True),
        (PROVIDER, {"provider": "p-2"}, False),
        (ASSIGNEE, {"assignee": {"type": "human", "id": "ann", "name": "Ann"}}, True),
        (ASSIGNEE, {"assignee": {"type": "human", "id": "bob", "name": "ann"}}, False),
        (ASSIGNEE, {}, False),
        (OPERATING, {}, False),
    ],
)
def test_scope_permits_executions_of_the_caller(
    reach: Any, members: dict[str, Any], reached: bool
) -> None:
    permits = Scope((reach,)).permits(Right.READ_EXECUTIONS)
    assert permits is not None
    assert permits(execution(**members)) is reached


def test_scope_of_everything_has_no_predicate() -> None:
    assert WHOLE.permits(Right.CANCEL) is None
    assert WHOLE.is_unlimited(Right.READ_EVENTS)
    assert WHOLE.within(Right.READ_EXECUTIONS, EVERYTHING) == EVERYTHING


def test_right_that_no_role_has_reaches_nothing() -> None:
    assert Scope((CUSTOMER,)).condition(Right.OPERATE) == NOTHING
    assert Scope().condition(Right.READ_EXECUTIONS) == NOTHING


def test_right_reaches_the_executions_of_the_role_that_has_it() -> None:
    scope = Scope((CUSTOMER, reach_of_owner(Role.PROVIDER, "p-2")))
    may_work = scope.permits(Right.WORK)
    assert may_work is not None
    assert may_work(execution(customer="c-9", provider="p-2"))
    assert not may_work(execution(customer="c-9", provider="p-1"))
    with pytest.raises(Forbidden, match=r"executions\.work.*execution"):
        may_work(execution(customer="c-1", provider="p-1"))


def test_scope_narrows_a_filter_and_repeats_no_condition() -> None:
    scope = Scope((CUSTOMER,))
    own = scope.condition(Right.READ_EXECUTIONS)
    same = from_json({"customer": "c-1"}, field)
    assert scope.within(Right.READ_EXECUTIONS, same) == own
    narrowed = scope.within(Right.READ_EXECUTIONS, from_json({"status": "queued"}, field))
    assert narrowed != own


def test_stored_condition_is_that_of_the_roles_with_all_rights() -> None:
    granted = Reach(from_json({"service": "granted"}, field), ROLES[Role.AUDITOR])
    own = Scope((CUSTOMER,)).filter(Right.READ_EVENTS)
    both = Scope((CUSTOMER, granted))
    assert both.filter(Right.READ_EVENTS, Right.MANAGE_WEBHOOKS) == own
    assert both.filter(Right.READ_EVENTS) != own


def test_parties_are_those_of_the_roles_that_have_the_right() -> None:
    scope = Scope((CUSTOMER, PROVIDER, ASSIGNEE))
    assert scope.parties(Right.READ_ANALYTICS) == [("customer", "c-1"), ("provider", "p-1")]


def test_aggregates_of_other_kinds_are_reached_only_by_their_parties() -> None:
    order = Versioned(Order("o", "s-1", "c-1", "p-1"), 1, 1, AT)
    user = Versioned(User("c-1", "Someone", "person"), 1, 1, AT)
    for reach, reached in ((CUSTOMER, True), (PROVIDER, True), (ASSIGNEE, False)):
        permits = Scope((reach,)).permits(Right.READ_EXECUTIONS)
        assert permits is not None
        assert permits(order) is reached
        assert not permits(user)


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ({"customer": "c-1", "status": "queued"}, False),
        ({"$not": {"status": "queued"}}, False),
        ({"$not": {"customer": "c-2"}}, True),
        ({"$or": [{"customer": "c-1"}, {"$not": {"tag": "eu"}}]}, True),
        ({"$or": [{"customer": "c-2"}, {"$not": {"tag": "eu"}}]}, False),
    ],
)
def test_condition_on_more_than_parties_reaches_no_order(
    wanted: dict[str, Any], reached: bool
) -> None:
    order = Versioned(Order("o", "s-1", "c-1", "p-1"), 1, 1, AT)
    assert meets(from_json(wanted, field), order) is reached


def test_assignee_may_be_narrowed_to_executions_of_a_party() -> None:
    narrowed = Scope(
        (reach_of_owner(Role.ASSIGNEE, "ann", provider="p-1", customer=None), CUSTOMER)
    )
    assert narrowed.names(Right.READ_CATALOG) == {"ann", "c-1"}, "it is not the provider"
    assert narrowed.owners(Right.WORK) == [
        (("assignee.id", "ann"), ("provider", "p-1")),
        (("claimedBy.worker", "ann"), ("provider", "p-1")),
    ]
    assert Scope((ASSIGNEE, PROVIDER)).owners(Right.WORK) == [
        (("assignee.id", "ann"),),
        (("claimedBy.worker", "ann"),),
        (("provider", "p-1"),),
    ]
    order = Versioned(Order("o", "s-1", "c-9", "p-1"), 1, 1, AT)
    permits = narrowed.permits(Right.READ_CATALOG)
    assert permits is not None
    assert not permits(order)


def test_caller_has_its_parties_and_its_assignee() -> None:
    scope = Scope((CUSTOMER, PROVIDER, ASSIGNEE))
    assert scope.names(Right.READ_CATALOG) == {"c-1", "p-1", "ann"}
    assert scope.names(Right.READ_ANALYTICS) == {"c-1", "p-1"}


async def no_parties(stream: str) -> Parties | None:
    raise AssertionError("the parties are not enough")


async def no_state(stream: str) -> Versioned[Any] | None:
    raise AssertionError("the parties are enough")


@pytest.mark.anyio
async def test_only_the_maker_is_cached_as_reaching_a_new_aggregate() -> None:
    job = Versioned(Job("j", "cancel", {}, None, 0, "ann", AT, 1, AT), 1, 1, AT)

    async def load(stream: str) -> Versioned[Any] | None:
        return job

    visibility = Visibility(load, no_parties)
    scope = Scope((CUSTOMER,))
    await visibility.require(Caller("ann", scope), Right.READ_EXECUTIONS, "job/j")
    with pytest.raises(NotFound):
        await visibility.require(Caller("bob", scope), Right.READ_EXECUTIONS, "job/j")
    await visibility.require(Caller("admin", WHOLE), Right.READ_EXECUTIONS, "job/j")


def test_only_admin_and_operator_have_the_right_to_operate() -> None:
    assert {role for role, rights in ROLES.items() if Right.OPERATE in rights} == {
        Role.ADMIN,
        Role.OPERATOR,
    }
    assert Right.READ_EXECUTIONS not in ROLES[Role.OPERATOR]


@pytest.mark.anyio
async def test_visibility_makes_the_same_queries_for_hidden_and_absent_aggregates() -> None:
    asked: list[str] = []
    there = {"execution/e": Parties("c-1", "p-1")}

    async def parties_of(stream: str) -> Parties | None:
        asked.append(stream)
        return there.get(stream)

    visibility = Visibility(no_state, parties_of)
    own = Caller("customer", Scope((CUSTOMER,)))
    stranger = Caller("stranger", Scope((reach_of_owner(Role.CUSTOMER, "c-2"),)))
    for _ in range(2):
        await visibility.require(own, Right.READ_EXECUTIONS, "execution/e")
    assert asked == ["execution/e"]
    refusals = []
    for caller, stream in ((stranger, "execution/e"), (stranger, "execution/none")) * 2:
        with pytest.raises(NotFound) as refused:
            await visibility.require(caller, Right.READ_EXECUTIONS, stream)
        refusals.append(str(refused.value))
    assert len(set(refusals)) == 1
    assert len(asked) == 5


@pytest.mark.anyio
async def test_visibility_reads_all_events_if_the_first_is_unreadable() -> None:
    async def unreadable(stream: str) -> Parties | None:
        raise Damaged

    async def load(stream: str) -> Versioned[Any] | None:
        error = Damaged()
        error.parties = ("c-1", "p-1")
        raise error

    visibility = Visibility(load, unreadable)
    for name, answer in (("c-1", Damaged), ("c-2", NotFound)):
        caller = Caller("customer", Scope((reach_of_owner(Role.CUSTOMER, name),)))
        with pytest.raises(answer):
            await visibility.require(caller, Right.READ_EXECUTIONS, "execution/e")


@pytest.mark.anyio
async def test_visibility_needs_a_query_for_the_parties_of_a_command_only_once() -> None:
    async def parties_of(stream: str) -> Parties | None:
        return Parties("c-1", "p-1")

    visibility = Visibility(no_state, parties_of)
    provider, right = Caller("provider", Scope((PROVIDER,))), Right.WORK
    assert visibility.needs_look(provider, right, "execution/e")
    await visibility.require(provider, right, "execution/e")
    assert not visibility.needs_look(provider, right, "execution/e")
    visibility.remember_created(provider, right, "execution/new")
    assert not visibility.needs_look(provider, right, "execution/new")
    for caller in (Caller("ann", Scope((ASSIGNEE,))), Caller("admin", WHOLE)):
        assert not visibility.needs_look(caller, right, "execution/e")


@pytest.mark.anyio
async def test_visibility_reads_the_assignee_at_each_request() -> None:
    states = [execution(assignee={"type": "human", "id": "ann", "name": "Ann"}), execution()]

    async def load(stream: str) -> Versioned[Any] | None:
        return states.pop(0)

    visibility = Visibility(load, no_parties)
    ann = Caller("ann", Scope((ASSIGNEE,)))
    await visibility.require(ann, Right.READ_EXECUTIONS, "execution/e")
    with pytest.raises(NotFound):
        await visibility.require(ann, Right.READ_EXECUTIONS, "execution/e")
