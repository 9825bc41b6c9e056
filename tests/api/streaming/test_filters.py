"""Parameters and messages of a stream's client: filters, replay speed, and over a WebSocket pause and seek."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.streaming import filter as filters
from domain.errors import Invalid
from tests.support.api_client import Executions, ok, refused
from tests.support.running_server import Serving
from tests.support.stream_consumers import (
    JSON,
    OURS,
    head,
    past,
    read_until_closed,
    socket,
    until_caught_up,
)


@pytest.fixture(scope="module")
def mixed(executions: Executions) -> list[str]:
    """Executions with and without the tag `eu`; the first has high priority and runs."""
    tagged = executions.running(tags=["eu", "vip"], priority="high")
    plain = executions.running(tags=["us"])
    executions.tell(plain, "cancel")
    return [tagged, plain]


def subjects(read: list[JSON]) -> set[str]:
    return {frame["subject"] for frame in read}


def next_event_frame(frames: Iterator[JSON]) -> JSON:
    """The next frame, other than those about catching up and falling behind."""
    return next(frame for frame in frames if frame["type"] not in OURS)


def test_types_filter_accepts_globs(server: Serving, mixed: list[str]) -> None:
    read = past(server, "/events", **{"from": "start", "types": "execution.start*,*.cancelled"})
    assert {frame["type"] for frame in read} == {
        "execution.starting",
        "execution.started",
        "execution.cancelled",
    }


@pytest.mark.parametrize("path", ["/events", "/executions/watch", "/executions/{}/events"])
def test_unknown_type_is_refused_with_suggestions(
    api: httpx.Client, mixed: list[str], path: str
) -> None:
    headers = {"Accept": "text/event-stream" if "{" not in path else "application/json"}
    asked = {"types": "execution.step.*,execution.step.complete"}
    problem = refused(api.get(path.format(mixed[0]), params=asked, headers=headers), 422, "invalid")
    assert "execution.step.completed" in problem["errors"][0]["message"]


@pytest.mark.parametrize(
    ("types", "place", "said"),
    [
        (
            "Completed",
            {"single": True},
            "did you mean `execution.completed` or `execution.step.completed`?",
        ),
        (
            "Completed",
            {},
            "did you mean `execution.completed` or `job.completed` or `execution.step.completed`?",
        ),
        ("status_change", {"watched": True}, "did you mean `status_changed`?"),
        ("statuschanged", {"watched": True}, "did you mean `status_changed`?"),
        ("statuschanged", {}, "has `statuschanged`; /asyncapi.json lists them"),
        ("user.created", {"watched": True}, "of executions, but no execution has `user.created`"),
        ("user.*", {"executions_only": True}, "of executions, but no execution has `user.*`"),
        ("job.completed", {"single": True}, "of executions, but no execution has `job.completed`"),
        (",".join(f"a{n}" for n in range(51)), {}, "must be at most 50 types, but are 51"),
    ],
)
def test_type_that_the_stream_cannot_send_is_refused_with_the_possible_types(
    types: str, place: dict[str, bool], said: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        filters.read(types, [], **place)
    assert said in refusal.value.members["errors"][0]["message"]
    assert "?." not in refusal.value.detail


def test_type_of_other_aggregates_is_refused_with_a_filter_on_executions() -> None:
    assert filters.read("user.created", []).types == ("user.created",)
    with pytest.raises(Invalid, match=r"no execution has `user\.created`"):
        filters.read("user.created", [("service", "sdr")])


def test_watch_with_a_type_that_no_execution_has_is_refused(api: httpx.Client) -> None:
    asked = {"types": "user.created", "format": "events"}
    headers = {"Accept": "text/event-stream"}
    answer = api.get("/executions/watch", params=asked, headers=headers)
    assert "no execution has" in refused(answer, 422, "invalid")["detail"]


@pytest.mark.parametrize(
    "query",
    [
        {"tag": "eu"},
        {"tag": "eu,nowhere"},
        {"tags[prefix]": "v"},
        {"priority": "high"},
        {"customer": "acme", "tag": "vip"},
    ],
)
def test_filters_of_lists_select_events_by_the_state_after_them(
    server: Serving, mixed: list[str], query: dict[str, str]
) -> None:
    assert subjects(past(server, "/events", **{"from": "start", **query})) == {mixed[0]}


def test_status_filter_uses_the_status_after_the_event(server: Serving, mixed: list[str]) -> None:
    read = past(server, "/events", **{"from": "start", "status": "cancelled"})
    assert mixed[1] in subjects(read)
    assert {frame["type"] for frame in read} == {"execution.cancelled"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"customer": "acme"}, True),
        ({"provider": "outreach"}, True),
        ({"service": "sdr-service"}, True),
        ({"order": "order-123"}, True),
        ({"customer": "nobody"}, False),
        ({"customer[ne]": "acme"}, False),
        ({"service": "other"}, False),
        ({"metadata.free[exists]": "true"}, False),
    ],
)
def test_filters_by_party_service_and_order_select_executions(
    server: Serving, mixed: list[str], query: dict[str, str], found: bool
) -> None:
    read = past(server, "/events", **{"from": "start", **query})
    assert bool(read) is found
    assert all(frame["type"].startswith("execution.") for frame in read)


def test_live_events_pass_the_same_filter(
    server: Serving, executions: Executions, mixed: list[str]
) -> None:
    with socket(server, "/executions/watch", tag="eu") as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        executions.tell(executions.running(), "progress", progress=10)
        executions.tell(mixed[0], "progress", progress=11)
        frame = next(frames)
    assert (frame["execution"], frame["progress"]) == (mixed[0], 11)


def test_cursor_moves_while_a_filter_matches_nothing(
    server: Serving,
    api: httpx.Client,
    executions: Executions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server.system.hub.heartbeat, "second", 0.02)
    execution = executions.running()
    with socket(server, "/events", **{"from": "start", "tag": "no-such-tag"}) as opened:
        frames = read_until_closed(opened)
        read = until_caught_up(frames)
        assert [frame["type"] for frame in read] == ["checkpoint"]
        executions.tell(execution, "progress", progress=10)
        end = int(ok(api.get("/readyz"))["position"])
        while (frame := next(frames))["position"] < end:
            assert frame["type"] == "checkpoint"
    assert frame == {"type": "checkpoint", "position": end}


def test_past_is_replayed_at_the_requested_speed(server: Serving, executions: Executions) -> None:
    execution = executions.running()
    time.sleep(1.2)
    executions.tell(execution, "cancel")
    path = f"/executions/{execution}/watch"

    def seconds(**query: Any) -> float:
        began = time.monotonic()
        assert past(server, path, **query)[-1]["type"] == "cancelled"
        return time.monotonic() - began

    as_it_was, twice_as_fast = seconds(speed=1), seconds(speed=2)
    assert as_it_was > 1
    assert 0.5 < twice_as_fast < as_it_was
    assert max(seconds(), seconds(speed=0)) < as_it_was


def test_websocket_pauses_seeks_and_changes_its_speed(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    execution = executions.running()
    with socket(server, f"/executions/{execution}/watch") as opened:
        frames = read_until_closed(opened)
        first = until_caught_up(frames)
        opened.send('{"pause": true}')
        time.sleep(0.2)
        executions.tell(execution, "progress", progress=10)
        with pytest.raises(TimeoutError):
            opened.recv(timeout=0.3)
        opened.send('{"pause": false}')
        assert next_event_frame(frames)["progress"] == 10
        assert next(frames)["type"] == "caught-up"
        opened.send('{"seek": 0}')
        again = until_caught_up(frames)
        assert again[: len(first)] == first
        opened.send('{"speed": 100}')
        executions.tell(execution, "cancel")
        assert next_event_frame(frames)["type"] == "status_changed"
        assert [frame["type"] for frame in frames] == ["cancelled"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("nonsense", "not JSON"),
        ('{"stop": 1}', "send one of pause, seek, speed"),
        ('{"pause": 1}', "pause takes true or false"),
        ('{"seek": 999999999}', "seek takes a position"),
        ('{"speed": -1}', "a speed is from 0"),
        ("[]", "send one of pause, seek, speed"),
        ('{"speed": "fast"}', "a speed is a number"),
    ],
)
def test_invalid_client_message_closes_the_websocket_with_a_reason(
    server: Serving, api: httpx.Client, message: str, reason: str
) -> None:
    with socket(server, "/events") as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        opened.send(message)
        assert list(frames) == []
        assert opened.close_code == 1008
        said = opened.close_reason or ""
        assert said.startswith(reason)
        assert said.endswith(f"; position {head(api)}")
