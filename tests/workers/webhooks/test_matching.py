"""An event finds the webhooks of the whole log that ask for it, and costs no others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.eventlog.codec import EventRow
from domain.model import Versioned
from tests.support.given import given as history
from tests.support.histories import HISTORIES
from workers.webhooks.matching import TYPES, HookFilter, HookIndex, LoggedEvent

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENDPOINT = "https://a.example"


def hook(name: str, *events: str, since: int = 0, **wanted: Any) -> HookFilter:
    stored = orjson.dumps(wanted).decode() if wanted else None
    return HookFilter.read(name, since, ENDPOINT, events or ("*",), stored)


def event(type_: str, stream: str = "execution/e", position: int = 5, **meta: str) -> LoggedEvent:
    known = orjson.dumps({"by": "tester", "customer": "c", "provider": "p", **meta}).decode()
    data = b'{"error":{"code":"X","message":{"$sealed":"1.abc"}},"final":false,"willRetry":true}'
    return LoggedEvent.read(EventRow(position, 1, NOON, stream, type_, known, data))


def owed(index: HookIndex, happened: LoggedEvent, after: Versioned[Any] | None = None) -> set[str]:
    return {found.webhook for found in index.owed(happened, after)}


def test_event_is_owed_to_those_who_ask_for_its_type() -> None:
    index = HookIndex([hook("all"), hook("users", "user.*"), hook("short", "completed")])
    assert owed(index, event("execution.completed")) == {"all", "short"}
    assert owed(index, event("user.created", "user/u")) == {"all", "users"}


def test_event_is_owed_to_none_that_begins_after_it_nor_to_the_webhook_it_is_of() -> None:
    index = HookIndex([hook("before", since=4), hook("after", since=5), hook("other")])
    assert owed(index, event("webhook.failing", "webhook/before")) == {"other"}


def test_event_that_was_imported_is_owed_to_none() -> None:
    index = HookIndex([hook("all")])
    assert owed(index, event("execution.started", occurredAt="2026-11-20T12:00:00.000Z")) == set()
    assert owed(index, event("execution.started", occurredAt="2026-11-22T11:00:00.000Z")) == {"all"}


def test_failure_before_a_retry_is_not_owed_to_those_who_ask_for_failed() -> None:
    index = HookIndex([hook("short", "failed"), hook("type", "execution.failed")])
    assert owed(index, event("execution.failed")) == {"type"}


def test_party_is_found_without_a_state() -> None:
    index = HookIndex(
        [hook("c", customer="c"), hook("other", customer="d"), hook("p", provider="p")]
    )
    happened = event("execution.started")
    assert not index.needs_state(happened)
    assert owed(index, happened) == {"c", "p"}


def test_filter_leaves_out_what_is_no_execution() -> None:
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
def test_state_decides_where_a_filter_looks_at_it(wanted: dict[str, Any], found: bool) -> None:
    index = HookIndex([hook("w", **wanted)])
    happened = event("execution.started")
    assert index.needs_state(happened)
    after = state()
    wanted_by = HookFilter.read("w", 0, ENDPOINT, ("*",), orjson.dumps(wanted).decode())
    assert (owed(index, happened, after) == {"w"}) is found
    assert wanted_by.wants(happened, after) is found


@given(st.lists(st.sampled_from(["*", "execution.*", "user.created", "status_changed", "failed"])))
def test_index_finds_the_same_as_looking_at_each(patterns: list[str]) -> None:
    hooks = [hook(f"w-{n}", pattern) for n, pattern in enumerate(patterns)]
    index = HookIndex(hooks)
    for type_ in TYPES:
        kind = type_.partition(".")[0]
        happened = event(type_, f"{kind}/x")
        each = {h.webhook for h in hooks if type_ in h.types and h.wants(happened, None)}
        assert owed(index, happened) == each
