"""The frames that watchers receive, over WebSocket and as server-sent events."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.api_client import ERROR, RESULT, Executions
from tests.support.running_server import TOKEN, Serving
from tests.support.stream_consumers import (
    OURS,
    head,
    past,
    read_until_closed,
    socket,
    until_caught_up,
)

JSON = dict[str, Any]


def types_of(frames: list[JSON], *members: str) -> list[Any]:
    """The type of each frame, with the values of some members where it has them."""
    return [
        (frame["type"], *(frame[name] for name in members if name in frame)) for frame in frames
    ]


def test_watch_sends_flat_frames_until_the_end(
    server: Serving, executions: Executions, queued_execution: str
) -> None:
    path = f"/executions/{queued_execution}/watch"
    with socket(server, path) as opened:
        frames = read_until_closed(opened)
        assert types_of(until_caught_up(frames), "status") == [("status_changed", "queued")]
        executions.tell(queued_execution, "start")
        executions.tell(queued_execution, "progress", progress=45)
        executions.tell(queued_execution, "steps/one/start", name="Step one")
        executions.tell(queued_execution, "steps/one/complete", output={"leads": 2})
        executions.tell(queued_execution, "pause", reason="lunch")
        executions.tell(queued_execution, "resume")
        executions.tell(queued_execution, "complete", **RESULT)
        read = list(frames)
        assert opened.close_code == 1000
        assert opened.close_reason == f"position {read[-1]['position']}"
    assert types_of(read, "status", "progress") == [
        ("status_changed", "starting"),
        ("status_changed", "running"),
        ("progress", 45),
        ("step.started",),
        ("step.completed",),
        ("status_changed", "paused"),
        ("paused",),
        ("status_changed", "running"),
        ("resumed",),
        ("progress", 100),
        ("status_changed", "completed"),
        ("completed",),
    ]
    assert {frame["execution"] for frame in read} == {queued_execution}
    step = read[4]["step"]
    assert (step["name"], step["output"]) == ("Step one", {"leads": 2})
    assert step["duration"] >= 0
    assert read[6]["reason"] == "lunch"
    assert read[-1]["result"] == RESULT


def test_frames_of_one_event_share_its_position_and_all_but_the_last_say_that_more_follows(
    server: Serving, completed_execution: str
) -> None:
    read = past(server, f"/executions/{completed_execution}/watch")
    last = [frame for frame in read if frame["position"] == read[-1]["position"]]
    assert types_of(last, "more") == [
        ("progress", True),
        ("status_changed", True),
        ("completed",),
    ]


def test_sse_frames_equal_websocket_frames_and_the_last_of_an_event_moves_the_cursor(
    server: Serving, api: httpx.Client, completed_execution: str
) -> None:
    path = f"/executions/{completed_execution}/watch"
    with connect_sse(api, "GET", path) as source:
        read = [sse for sse in source.iter_sse() if sse.event != "caught-up"]
    assert [json.loads(sse.data) for sse in read] == past(server, path)
    assert [sse.event for sse in read[-3:]] == ["progress", "status_changed", "completed"]
    assert [int(sse.id) for sse in read[-3:]] == [
        json.loads(read[-1].data)["position"] - 1,
        json.loads(read[-1].data)["position"] - 1,
        json.loads(read[-1].data)["position"],
    ]


def test_watch_sends_failed_only_for_a_final_failure(
    server: Serving, executions: Executions, retrying_execution: str
) -> None:
    read = past(server, f"/executions/{retrying_execution}/watch", **{"from": "start"})
    assert types_of(read[-2:], "status") == [("status_changed", "retry"), ("retry",)]
    assert (read[-1]["retry"], read[-1]["maxRetries"], read[-1]["delay"]) == (1, 3, 60_000)
    failed = executions.running()
    executions.tell(failed, "fail", **ERROR)
    read = past(server, f"/executions/{failed}/watch")
    assert types_of(read[-2:], "status") == [("status_changed", "failed"), ("failed",)]
    assert read[-1]["error"]["message"] == ERROR["message"]


def test_failure_that_will_be_retried_is_sent_as_a_status_that_is_not_final(
    server: Serving, executions: Executions, retrying_execution: str
) -> None:
    read = past(server, f"/executions/{retrying_execution}/watch", **{"from": "start"})
    assert types_of(read[-3:], "status", "final") == [
        ("status_changed", "failed", False),
        ("status_changed", "retry"),
        ("retry",),
    ]
    assert "failed" not in {frame["type"] for frame in read}
    failed = executions.running()
    executions.tell(failed, "fail", **ERROR)
    read = past(server, f"/executions/{failed}/watch")
    assert types_of(read[-2:], "status", "final") == [("status_changed", "failed"), ("failed",)]


@pytest.mark.parametrize(
    ("command", "body", "end"),
    [("complete", RESULT, "completed"), ("fail", ERROR, "failed"), ("cancel", {}, "cancelled")],
)
def test_unfinished_steps_are_sent_as_skipped_when_the_execution_ends(
    server: Serving, executions: Executions, command: str, body: JSON, end: str
) -> None:
    steps = [{"id": name, "name": name} for name in ("done", "running", "pending")]
    execution = executions.running(steps=steps)
    for step in ("done", "running"):
        executions.tell(execution, f"steps/{step}/start")
    executions.tell(execution, "steps/done/complete")
    path = f"/executions/{execution}/watch"
    with socket(server, path) as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        executions.tell(execution, command, **body)
        live = list(frames)
    skipped = [frame["step"] for frame in live if frame["type"] == "step.skipped"]
    assert [(step["id"], step["status"]) for step in skipped] == [
        ("running", "skipped"),
        ("pending", "skipped"),
    ]
    assert [frame["type"] for frame in live if frame["type"] != "progress"] == [
        "status_changed",
        "step.skipped",
        "step.skipped",
        end,
    ]
    assert past(server, path)[-len(live) :] == live


def test_envelopes_for_all_executions_have_only_events_of_executions(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    begin = head(api)
    api.post("/users", json={"name": "Ann", "kind": "person"})
    execution = executions.running()
    query = {"format": "events", "from": begin}
    read = past(server, "/executions/watch", **query)
    assert {frame["subject"] for frame in read} == {execution}
    with socket(server, "/executions/watch", format="events") as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        api.post("/users", json={"name": "Ben", "kind": "person"})
        executions.tell(execution, "progress", progress=10)
        assert next(frames)["type"] == "execution.progress"
    assert "user.created" in {frame["type"] for frame in past(server, "/events", **{"from": begin})}


def test_watch_sends_progress_derived_from_steps(server: Serving, executions: Executions) -> None:
    steps = [{"id": "a", "name": "A"}, {"id": "b", "name": "B"}]
    execution = executions.running(steps=steps)
    executions.tell(execution, "steps/a/start")
    executions.tell(execution, "steps/a/complete")
    read = past(server, f"/executions/{execution}/watch")
    assert types_of(read[-2:], "progress") == [("progress", 50), ("step.completed",)]


def test_state_after_an_event_is_included_on_request(
    server: Serving, api: httpx.Client, completed_execution: str
) -> None:
    read = past(server, f"/executions/{completed_execution}/watch", include="execution")
    shown = api.get(f"/executions/{completed_execution}").json()
    state = read[-1]["state"]
    assert state["$id"] == completed_execution
    assert (state["status"], state["result"]) == ("completed", shown["result"])
    assert [frame["state"]["status"] for frame in read][:1] == ["queued"]


def test_watch_shows_earlier_sealed_content_live_and_after_a_resume(
    server: Serving, executions: Executions
) -> None:
    execution = executions.running()
    executions.tell(execution, "checkpoints", state={"page": 3})
    begin = executions.tell(execution, "steps/one/start", input={"leads": 10})["position"]
    path, query = f"/executions/{execution}/watch", {"from": begin, "include": "execution"}
    with socket(server, path, **query) as opened:
        frames = read_until_closed(opened)
        assert until_caught_up(frames) == []
        executions.tell(execution, "steps/one/complete")
        live = [next(frames), next(frames)]
    assert types_of(live) == [("progress",), ("step.completed",)]
    assert live[1]["step"]["input"] == {"leads": 10}
    assert live[1]["state"]["checkpoints"][0]["state"] == {"page": 3}
    assert past(server, path, **query) == live


def test_watch_of_all_executions_begins_now(server: Serving, executions: Executions) -> None:
    with socket(server, "/executions/watch") as opened:
        frames = read_until_closed(opened)
        assert until_caught_up(frames) == []
        first, second = executions.running(), executions.running()
        read = [next(frames) for _ in range(6)]
    assert [frame["execution"] for frame in read] == [first] * 3 + [second] * 3


def test_replay_of_all_executions_equals_the_live_frames(
    server: Serving, executions: Executions
) -> None:
    with socket(server, "/executions/watch") as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        begin = executions.create()["position"] - 1
        execution = executions.running()
        executions.tell(execution, "steps/one/start")
        executions.tell(execution, "complete", **RESULT)
        live: list[JSON] = []
        while not live or live[-1]["type"] != "completed":
            live.append(next(frames))
    again = past(server, "/executions/watch", **{"from": begin})
    assert again[: len(live)] == live


@pytest.mark.parametrize("types", ["log", "execution.paused", "*"])
def test_reconnect_after_the_end_is_answered_204_with_any_filter(
    server: Serving, api: httpx.Client, executions: Executions, types: str
) -> None:
    execution = executions.running()
    path = f"/executions/{execution}/watch"
    with connect_sse(api, "GET", path, params={"types": types}) as source:
        frames = source.iter_sse()
        next(sse for sse in frames if sse.event == "caught-up")
        executions.tell(execution, "cancel")
        last = list(frames)[-1].id
    stream = {"Accept": "text/event-stream", "Last-Event-ID": last}
    assert api.get(path, params={"types": types}, headers=stream).status_code == 204


ENDING = [
    ("progress", 100),
    ("status_changed", "completed"),
    ("step.skipped",),
    ("completed",),
]


@pytest.mark.parametrize(
    ("types", "chosen"),
    [
        ("progress", [("progress", 50), ("step.completed",), *ENDING]),
        (
            "status_changed",
            [("status_changed", status) for status in ("queued", "starting", "running")] + ENDING,
        ),
        ("completed", ENDING),
        ("step.started", [("step.started",)]),
        ("step.skipped", ENDING),
    ],
)
def test_types_filter_accepts_frame_types_and_selects_whole_events(
    server: Serving, executions: Executions, types: str, chosen: list[Any]
) -> None:
    steps = [{"id": "a", "name": "A"}, {"id": "b", "name": "B"}]
    execution = str(executions.create(status="queued", steps=steps)["$id"])
    path = f"/executions/{execution}/watch"
    with socket(server, path, types=types) as opened:
        frames = read_until_closed(opened)
        executions.tell(execution, "start")
        executions.tell(execution, "steps/a/start")
        executions.tell(execution, "steps/a/complete")
        executions.tell(execution, "complete", **RESULT)
        live = [frame for frame in frames if frame["type"] not in OURS]
    assert types_of(live, "status", "progress") == chosen
    assert past(server, path, types=types) == live


def test_websocket_with_format_events_sends_envelopes(
    server: Serving, api: httpx.Client, completed_execution: str
) -> None:
    page = api.get(f"/executions/{completed_execution}/events").json()["data"]
    path = f"/executions/{completed_execution}"
    assert past(server, f"{path}/events") == page
    assert past(server, f"{path}/watch", format="events") == page


def test_stream_answers_log_position(
    server: Serving, api: httpx.Client, completed_execution: str
) -> None:
    path, end = f"/executions/{completed_execution}/watch", str(head(api))
    with connect_sse(api, "GET", path) as source:
        assert source.response.headers["log-position"] == end
    stream = {"Accept": "text/event-stream", "Last-Event-ID": end}
    assert api.get(path, headers=stream).headers["log-position"] == end
    with socket(server, path) as opened:
        assert opened.response is not None
        assert opened.response.headers["log-position"] == end


def test_token_is_accepted_as_a_websocket_subprotocol(
    server: Serving, running_execution: str
) -> None:
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    word = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    url = f"{server.url.replace('http', 'ws')}/executions/{running_execution}/watch"
    offered = [Subprotocol("executions"), Subprotocol(f"bearer.{word}")]
    with connect(url, subprotocols=offered) as opened:
        assert opened.subprotocol == "executions"
        assert until_caught_up(read_until_closed(opened))


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({}, "/events", 401),
        ({"Authorization": "Bearer wrong"}, "/events", 401),
        ({"Sec-WebSocket-Protocol": "bearer.!"}, "/events", 401),
        (None, "/executions/nobody/watch", 404),
        (None, "/events?from=99999999", 400),
        (None, "/events?colour=red", 422),
        (None, "/events?include=order", 422),
        (None, "/executions/watch?speed=fast", 422),
    ],
)
def test_invalid_websocket_request_is_refused_before_the_handshake(
    server: Serving, headers: JSON | None, path: str, status: int
) -> None:
    path, _, query = path.partition("?")
    pairs = dict([query.split("=")]) if query else {}
    with pytest.raises(InvalidStatus) as refused, socket(server, path, headers, **pairs):
        pass
    response = refused.value.response
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_websocket_on_a_path_without_one_is_refused(server: Serving) -> None:
    with pytest.raises((InvalidStatus, ConnectionClosed)), socket(server, "/orders") as opened:
        opened.recv(timeout=5)
