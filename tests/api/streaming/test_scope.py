"""A stream shows a caller only the executions and orders in its scope."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from api.access import scope
from api.access.identity import Caller
from api.access.rights import Right, Role
from api.access.scope import Scope
from api.streaming.encoding import ENCODERS, SSE
from api.streaming.filter import Filter
from api.streaming.frames import EVENTS
from api.streaming.index import Index
from api.streaming.log.entry import Entry
from api.streaming.topic import Topic
from domain.eventlog.codec import EventRow
from tests.support.api_client import ok, refused
from tests.support.event_writer import NOON
from tests.support.owned_world import (
    CALLERS,
    OF_ASSIGNEE,
    REACHED,
    SAMPLES,
    STRANGE,
    Sample,
    client_of,
    fill,
    headers_of,
    world,
)
from tests.support.running_server import Serving
from tests.support.sse_client import frames, opened, until_caught_up
from tests.support.stream_consumers import OURS, read_until_closed, socket
from tests.support.stream_consumers import until_caught_up as read_until_caught_up

LIMITED = (Role.CUSTOMER, Role.PROVIDER, Role.ASSIGNEE, Role.AUDITOR)
WHOLE_LOG = ("/events", "/executions/watch", "/executions/monitor")
JSON = dict[str, Any]


@pytest.fixture
def fresh(database: str) -> Iterator[Serving]:
    with world(database) as running, client_of(running, Role.ADMIN) as api:
        fill(api)
        yield running


def by_sse(server: Serving, role: Role, path: str, **query: str) -> list[JSON]:
    with client_of(server, role) as api, opened(api, path, **query) as source:
        read = until_caught_up(source)
        return [frame.data | {"type": frame.type} for frame in read if frame.is_event]


def by_socket(server: Serving, role: Role, path: str, **query: str) -> list[JSON]:
    with socket(server, path, headers_of(role), **query) as connected:
        return [
            f for f in read_until_caught_up(read_until_closed(connected)) if f["type"] not in OURS
        ]


@pytest.mark.parametrize("read", [by_sse, by_socket])
@pytest.mark.parametrize("path", WHOLE_LOG)
@pytest.mark.parametrize("role", [*LIMITED, Role.ADMIN])
def test_stream_of_the_log_shows_only_executions_in_the_callers_scope(
    owned: Serving, role: Role, path: str, read: Any
) -> None:
    for query in ({}, {"include": "execution"}, {"format": "events"}, {"types": "*"}):
        shown = read(owned, role, path, **{"from": "start", **query})
        written = json.dumps(shown).encode()
        for sample in SAMPLES:
            reached = sample in REACHED[role]
            assert (sample.word.encode() in written) is reached, (sample, query)
            assert reached or str(sample.number).encode() not in written
        if role is not Role.ADMIN and (path == "/events" or "format" in query):
            kinds = {frame["type"].partition(".")[0] for frame in shown}
            assert kinds <= {"execution", "order"}


@pytest.mark.parametrize(
    ("role", "shown"),
    [(Role.CUSTOMER, True), (Role.PROVIDER, True), (Role.ASSIGNEE, False), (Role.AUDITOR, False)],
)
def test_events_of_an_order_are_shown_only_to_its_parties(
    owned: Serving, role: Role, shown: bool
) -> None:
    types = {frame["type"] for frame in by_sse(owned, role, "/events", **{"from": "start"})}
    assert ("order.created" in types) is shown
    assert "execution.created" in types


@pytest.mark.parametrize("role", LIMITED)
def test_filter_matches_no_execution_outside_the_callers_scope(owned: Serving, role: Role) -> None:
    for query in (
        {"customer": STRANGE.customer},
        {"provider": STRANGE.provider},
        {"order": STRANGE.order},
        {"tag": f"tag-{STRANGE.word}"},
        {"customer[ne]": "nobody", "service": STRANGE.service},
    ):
        assert by_socket(owned, role, "/events", **{"from": "start", **query}) == []


@pytest.mark.parametrize("below", ["events", "watch", "monitor", "logs"])
@pytest.mark.parametrize("role", LIMITED)
def test_stream_of_an_execution_outside_the_callers_scope_is_not_found(
    owned: Serving, role: Role, below: str
) -> None:
    accept = {"Accept": "text/event-stream"}
    answers = []
    with client_of(owned, role) as api:
        for execution in (STRANGE.execution, "run-none"):
            found = api.get(f"/executions/{execution}/{below}", headers=accept)
            problem = refused(found, 404, "not-found")
            answers.append({k: v for k, v in problem.items() if k != "instance"})
    assert answers[0] == answers[1]
    if below != "logs":
        with (
            pytest.raises(InvalidStatus, match="404"),
            socket(owned, f"/executions/{STRANGE.execution}/{below}", headers_of(role)),
        ):
            pass


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.ASSIGNEE])
def test_live_events_and_log_lines_outside_the_callers_scope_are_left_out(
    owned: Serving, role: Role
) -> None:
    [own] = REACHED[role]
    with (
        client_of(owned, Role.ADMIN) as admin,
        socket(owned, "/executions/watch", headers_of(role), types="log,progress") as connected,
    ):
        received = read_until_closed(connected)
        read_until_caught_up(received)
        for number in (41, 42):
            for sample in (STRANGE, own):
                message = {"level": "info", "message": f"live-{sample.word}"}
                ok(
                    admin.post(
                        f"/executions/{sample.execution}/progress", json={"progress": number}
                    )
                )
                ok(admin.post(f"/executions/{sample.execution}/logs", json=message))
        seen: list[JSON] = []
        while sum(frame["type"] == "log" for frame in seen) < 2:
            seen.append(next(received))
    assert STRANGE.word not in json.dumps(seen)
    assert [f["progress"] for f in seen if f["type"] == "progress"] == [41, 42]


def reassign(server: Serving, sample: Sample, person: str) -> None:
    body = {"assignee": {"type": "human", "id": person, "name": person}}
    with client_of(server, Role.ADMIN) as admin:
        ok(admin.patch(f"/executions/{sample.execution}", json=body))


def test_former_assignee_gets_the_events_before_the_reassignment_and_none_after(
    fresh: Serving,
) -> None:
    path, role = f"/executions/{OF_ASSIGNEE.execution}/events", Role.ASSIGNEE
    reassign(fresh, OF_ASSIGNEE, "bob")
    reassign(fresh, OF_ASSIGNEE, OF_ASSIGNEE.person)
    with socket(fresh, path, headers_of(role)) as connected:
        received = read_until_closed(connected)
        past = [frame for frame in read_until_caught_up(received) if frame["type"] not in OURS]
        versions = [frame["version"] for frame in past]
        assert versions == list(range(1, len(past) + 1))
        reassign(fresh, OF_ASSIGNEE, "carl")
        with client_of(fresh, Role.ADMIN) as admin:
            ok(admin.post(f"/executions/{OF_ASSIGNEE.execution}/cancel", json={"reason": "secret"}))
        rest = [frame for frame in received if frame["type"] not in OURS]
    assert rest == []


def test_followed_log_lines_end_when_the_execution_is_assigned_to_another(fresh: Serving) -> None:
    path = f"/executions/{OF_ASSIGNEE.execution}/logs"
    with client_of(fresh, Role.ASSIGNEE) as api, opened(api, path) as source:
        received = frames(source)
        while next(received).type != "caught-up":
            pass
        reassign(fresh, OF_ASSIGNEE, "bob")
        with client_of(fresh, Role.ADMIN) as admin:
            ok(admin.post(path, json={"level": "info", "message": "for others"}))
        assert list(received) == []


def topic(caller: Caller, **more: Any) -> Topic:
    limited = replace(Filter(**more), scope=caller.scope.condition(Right.READ_EVENTS))
    return Topic(ENCODERS[EVENTS, SSE], "", limited)


def entry(customer: str, provider: str) -> Entry:
    meta = json.dumps({"by": "tester", "customer": customer, "provider": provider})
    return Entry(EventRow(1, 1, NOON, "execution/e-1", "execution.paused", meta, b"{}"), None)


def test_callers_of_one_customer_share_a_group_that_other_customers_events_do_not_visit() -> None:
    index = Index()
    groups = {
        index.join(
            topic(Caller(f"key-{number}", Scope((scope.reach_of_owner(Role.CUSTOMER, "c-1"),))))
        )
        for number in range(1_000)
    }
    index.join(topic(Caller("other", Scope((scope.reach_of_owner(Role.CUSTOMER, "c-2"),)))))
    [group] = groups
    assert group.members == 1_000
    own, other = entry("c-1", "p-1"), entry("c-3", "p-1")
    assert index.entries_by_group([own, other]) == {group: [own]}


def test_caller_with_two_parties_gets_an_event_of_both_parties_once() -> None:
    index = Index()
    both = Scope(
        (scope.reach_of_owner(Role.CUSTOMER, "c-1"), scope.reach_of_owner(Role.PROVIDER, "p-1"))
    )
    group = index.join(topic(Caller("both", both)))
    events = [entry("c-1", "p-1"), entry("c-1", "p-2"), entry("c-2", "p-1"), entry("c-2", "p-2")]
    assert index.entries_by_group(events) == {group: events[:3]}
    assert [group.topic.filter.matches(each) for each in events] == [True, True, True, False]


def test_filters_with_different_scopes_are_not_equal() -> None:
    customer, provider = CALLERS[Role.CUSTOMER], CALLERS[Role.PROVIDER]
    assert topic(customer) == topic(customer)
    assert topic(customer) != topic(provider)
    assert topic(customer) != Topic(ENCODERS[EVENTS, SSE], "", Filter())
    assert not topic(customer).whole
    assert not topic(customer).folded
    assert topic(CALLERS[Role.ASSIGNEE]).folded
