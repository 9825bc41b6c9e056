"""An event is matched with the webhooks of the whole log that subscribe to it, without looking at the others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.eventlog.codec import EventRow
from domain.model import Versioned
from domain.types import Assignee
from tests.support.given import given as history
from tests.support.histories import HISTORIES
from workers.webhooks.matching import TYPES, HookFilter, HookIndex, LoggedEvent

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENDPOINT = "https://a.example"


def hook(
    name: str, *events: str, since: int = 0, scope: dict[str, Any] | None = None, **wanted: Any
) -> HookFilter:
    stored, limits = (orjson.dumps(each).decode() if each else None for each in (wanted, scope))
    return HookFilter.read(name, since, ENDPOINT, events or ("*",), stored, scope=limits)


def event(type_: str, stream: str = "execution/e", position: int = 5, **meta: str) -> LoggedEvent:
    known = orjson.dumps({"by": "tester", "customer": "c", "provider": "p", **meta}).decode()
    data = b'{"error":{"code":"X","message":{"$sealed":"1.abc"}},"final":false,"willRetry":true}'
    return LoggedEvent.read(EventRow(position, 1, NOON, stream, type_, known, data))


def owed(index: HookIndex, happened: LoggedEvent, after: Versioned[Any] | None = None) -> set[str]:
    return {found.webhook for found in index.find(happened, after)}


def test_event_is_owed_to_subscribers_of_its_type() -> None:
    index = HookIndex([hook("all"), hook("users", "user.*"), hook("short", "completed")])
    assert owed(index, event("execution.completed")) == {"all", "short"}
    assert owed(index, event("user.created", "user/u")) == {"all", "users"}


def test_event_is_not_owed_to_later_webhooks_nor_to_the_webhook_that_it_is_about() -> None:
    index = HookIndex([hook("before", since=4), hook("after", since=5), hook("other")])
    assert owed(index, event("webhook.failing", "webhook/before")) == {"other"}


def test_imported_event_is_owed_to_no_webhook() -> None:
    index = HookIndex([hook("all")])
    assert owed(index, event("execution.started", occurredAt="2026-11-20T12:00:00.000Z")) == set()
    assert owed(index, event("execution.started", occurredAt="2026-11-22T11:00:00.000Z")) == {"all"}


def test_failure_before_a_retry_is_not_owed_to_subscribers_of_failed() -> None:
    index = HookIndex([hook("short", "failed"), hook("type", "execution.failed")])
    assert owed(index, event("execution.failed")) == {"type"}


def test_party_is_compared_without_a_state() -> None:
    index = HookIndex(
        [hook("c", customer="c"), hook("other", customer="d"), hook("p", provider="p")]
    )
    happened = event("execution.started")
    assert not index.needs_state(happened)
    assert owed(index, happened) == {"c", "p"}


def test_filter_excludes_events_that_are_not_of_executions() -> None:
    index = HookIndex([hook("c", customer="c")])
    assert owed(index, event("order.created", "order/o")) == set()


def state() -> Versioned[Any]:
    replayed = history(*HISTORIES[next(iter(HISTORIES))])
    return Versioned(replayed.state, 1, 5, NOON)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"service": "s-1"}, True),
        ({"service": "s-2"}, False),
        ({"order": {"$in": ["o-1", "o-2"]}}, True),
        ({"$or": [{"service": "s-2"}, {"customer": "nobody"}]}, False),
        ({"status": {"$ne": "completed"}}, True),
    ],
)
def test_state_is_compared_if_a_filter_needs_it(wanted: dict[str, Any], found: bool) -> None:
    index = HookIndex([hook("w", **wanted)])
    happened = event("execution.started")
    assert index.needs_state(happened)
    after = state()
    wanted_by = HookFilter.read("w", 0, ENDPOINT, ("*",), orjson.dumps(wanted).decode())
    assert (owed(index, happened, after) == {"w"}) is found
    assert wanted_by.wants(happened, after) is found


@given(st.lists(st.sampled_from(["*", "execution.*", "user.created", "status_changed", "failed"])))
def test_index_finds_the_same_as_comparing_each_webhook(patterns: list[str]) -> None:
    hooks = [hook(f"w-{n}", pattern) for n, pattern in enumerate(patterns)]
    index = HookIndex(hooks)
    for type_ in TYPES:
        kind = type_.partition(".")[0]
        happened = event(type_, f"{kind}/x")
        each = {h.webhook for h in hooks if type_ in h.types and h.wants(happened, None)}
        assert owed(index, happened) == each


def test_maker_gets_only_executions_and_orders_of_its_scope() -> None:
    index = HookIndex([hook("mine", scope={"customer": "c"}), hook("all")])
    for type_ in ("execution.started", "order.created"):
        stream = f"{type_.partition('.')[0]}/x"
        assert owed(index, event(type_, stream)) == {"mine", "all"}
        assert owed(index, event(type_, stream, customer="d")) == {"all"}
    for type_ in ("user.created", "job.created", "hold.placed", "webhook.failing"):
        assert owed(index, event(type_, f"{type_.partition('.')[0]}/x")) == {"all"}


def test_maker_with_two_parties_gets_an_event_of_both_once() -> None:
    index = HookIndex([hook("both", scope={"$or": [{"customer": "c"}, {"provider": "p"}]})])
    assert [found.webhook for found in index.find(event("execution.started"), None)] == ["both"]
    assert owed(index, event("execution.started", customer="d")) == {"both"}
    assert owed(index, event("execution.started", customer="d", provider="q")) == set()


def test_filter_finds_nothing_outside_the_scope_of_its_maker() -> None:
    index = HookIndex([hook("w", scope={"customer": "c"}, customer="d")])
    assert owed(index, event("execution.started")) == set()
    assert owed(index, event("execution.started", customer="d")) == set()


@pytest.mark.parametrize(("person", "found"), [("ann", True), ("bob", False)])
def test_scope_that_depends_on_states_is_compared_with_them(person: str, found: bool) -> None:
    index = HookIndex([hook("w", scope={"$or": [{"assignee.id": person}, {"customer": "x"}]})])
    happened, after = event("execution.started"), state()
    assert index.needs_state(happened)
    assignee = Assignee(type="human", id="ann", name="Ann")
    assigned = after._replace(state=after.state.evolve(assignee=assignee))
    assert (owed(index, happened, assigned) == {"w"}) is found
    assert owed(index, happened, None) == set()
    assert owed(index, event("order.created", "order/o")) == set()
    assert owed(index, event("order.created", "order/o", customer="x")) == {"w"}
