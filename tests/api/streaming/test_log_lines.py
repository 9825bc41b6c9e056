"""Log lines in the streams of watchers: only on demand, live, from any process, and without moving the cursor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support import sse_client
from tests.support.api_client import ERROR, RESULT, Executions, ok, refused
from tests.support.running_server import Serving, serving
from tests.support.stream_consumers import JSON, past, read_until_closed, socket, until_caught_up

CONTEXT = {"batch": 10, "nested": {"a": [1, None]}}


def tell(client: httpx.Client, execution: str, *messages: str, **more: Any) -> None:
    """Append one line for each message, in one request."""
    lines = [{"level": "info", "message": message, **more} for message in messages]
    ok(client.post(f"/executions/{execution}/logs", json=lines))


def messages(frames: Iterator[JSON], count: int) -> list[str]:
    """The messages of the next log frames, other frames left out."""
    found: list[str] = []
    while len(found) < count:
        frame = next(frames)
        if frame["type"] == "log":
            found.append(frame["message"])
    return found


def test_log_frame_equals_the_line_read_and_has_no_position(
    server: Serving, api: httpx.Client, running_execution: str
) -> None:
    with socket(server, f"/executions/{running_execution}/watch", types="*,log") as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        tell(api, running_execution, "Found 10 leads", context=CONTEXT, step="research")
        tell(api, running_execution, "Done", timestamp="2026-01-02T03:04:05.678Z")
        first, second = next(frames), next(frames)
    own = {"type": "log", "execution": running_execution}
    # Pages of log lines are ordered by the time of the lines.
    page = ok(api.get(f"/executions/{running_execution}/logs"))["data"]
    assert [second, first] == [own | line for line in page]
    assert first["context"] == CONTEXT
    assert "position" not in first


def test_log_frames_keep_the_last_event_id(
    server: Serving, api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/watch"
    with sse_client.opened(api, path, types="*,log") as source:
        frames = sse_client.frames(source)
        before = next(frame for frame in frames if frame.type == "caught-up").id
        with server.client() as worker:
            tell(worker, running_execution, "one", "two")
            lines = [next(frames), next(frames)]
            assert [(line.type, line.data["message"]) for line in lines] == [
                ("log", "one"),
                ("log", "two"),
            ]
            # The last event id of a client is that of the last frame that had an id.
            assert {line.id for line in lines} == {before}
            executions.tell(running_execution, "progress", progress=10)
            moved = next(frames)
            assert (moved.type, int(moved.id)) == ("progress", moved.data["position"])
            tell(worker, running_execution, "three")
            assert next(frames).id == moved.id
            executions.tell(running_execution, "progress", progress=20)
    with sse_client.opened(api, path, after=moved.id, types="*,log") as source:
        again = next(sse_client.frames(source))
        assert (again.type, again.data["progress"]) == ("progress", 20)


def test_log_frames_are_sent_only_on_demand(
    server: Serving, api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/watch"
    for types in ("", "*", "execution.*"):
        with socket(server, path, types=types) as opened:
            frames = read_until_closed(opened)
            until_caught_up(frames)
            tell(api, running_execution, "unheard")
            time.sleep(0.1)
            executions.tell(running_execution, "progress", progress=time.time() % 90)
            assert next(frames)["type"] == "progress"


def test_stream_with_types_log_has_only_log_frames(
    server: Serving, api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    with socket(server, f"/executions/{running_execution}/watch", types="log") as opened:
        frames = read_until_closed(opened)
        assert {frame["type"] for frame in until_caught_up(frames)} <= {"checkpoint"}
        executions.tell(running_execution, "progress", progress=10)
        tell(api, running_execution, "only this")
        assert next(frames)["message"] == "only this"


def test_event_type_is_accepted_without_its_prefix(
    server: Serving, api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/watch"
    with socket(server, path, types="log,progress,step.*") as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        executions.tell(running_execution, "checkpoints", state={"page": 1})
        executions.tell(running_execution, "steps/a/start")
        executions.tell(running_execution, "progress", progress=10)
        assert [next(frames)["type"] for _ in range(2)] == ["step.started", "progress"]
        tell(api, running_execution, "and this")
        assert next(frames)["type"] == "log"
    assert {frame["type"] for frame in past(server, path, types="step.started")} == {"step.started"}


def test_server_log_lines_come_before_the_stream_ends(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    for command, body in (("complete", RESULT), ("fail", ERROR), ("cancel", {"reason": "no"})):
        execution = executions.running()
        with socket(server, f"/executions/{execution}/watch", types="*,log") as opened:
            frames = read_until_closed(opened)
            until_caught_up(frames)
            executions.tell(execution, command, **body)
            read = list(frames)
            assert opened.close_code == 1000
        noted = [frame for frame in read if frame["type"] == "log"]
        deadline = time.monotonic() + 10
        while not (page := ok(api.get(f"/executions/{execution}/logs"))["data"]):
            assert time.monotonic() < deadline
        assert [{"type": "log", "execution": execution, **line} for line in page] == noted
        assert read[0]["type"] == "log"
        assert read[-1]["type"] != "log"


def test_log_lines_pass_the_filter_of_their_executions(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    tagged, plain = executions.running(tags=["eu-logs"]), executions.running()
    with (
        socket(server, "/executions/watch", types="log", tag="eu-logs") as some,
        socket(server, "/executions/watch", types="log", customer="nobody") as none,
        socket(server, "/executions/watch", types="log") as every,
    ):
        streams = [read_until_closed(opened) for opened in (some, none, every)]
        for stream in streams:
            until_caught_up(stream)
        tell(api, plain, "plain")
        tell(api, tagged, "tagged")
        assert messages(streams[2], 2) == ["plain", "tagged"]
        assert messages(streams[0], 1) == ["tagged"]
        ok(api.patch(f"/executions/{plain}", json={"tags": ["eu-logs"]}))
        ok(api.patch(f"/executions/{tagged}", json={"tags": []}))
        tell(api, tagged, "no longer")
        tell(api, plain, "now tagged")
        assert messages(streams[0], 1) == ["now tagged"]
        with pytest.raises(TimeoutError):
            none.recv(timeout=0.3)


def test_log_lines_of_another_process_are_streamed(
    server: Serving, executions: Executions, running_execution: str
) -> None:
    with (
        serving(server.conninfo) as other,
        other.client() as worker,
        socket(server, f"/executions/{running_execution}/watch", types="log") as one,
        socket(server, "/executions/watch", types="log") as every,
    ):
        streams = [read_until_closed(opened) for opened in (one, every)]
        for stream in streams:
            until_caught_up(stream)
        said = [f"line {number}" for number in range(1_500)]
        for begin in range(0, len(said), 300):
            tell(worker, running_execution, *said[begin : begin + 300])
        assert messages(streams[0], len(said)) == said
        assert messages(streams[1], len(said)) == said


def test_log_lines_of_concurrent_writers_are_streamed_once(
    server: Serving, executions: Executions
) -> None:
    watched = [executions.running() for _ in range(4)]
    with socket(server, "/executions/watch", types="log") as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        with server.client() as client, ThreadPoolExecutor(8) as pool:
            said = [(watched[number % 4], f"{number}") for number in range(400)]
            list(pool.map(lambda line: tell(client, *line), said))
        received = messages(frames, len(said))
        assert sorted(received) == sorted(message for _, message in said)
        with pytest.raises(TimeoutError):
            opened.recv(timeout=0.3)


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/events", "text/event-stream"),
        ("/executions/watch?format=events", "text/event-stream"),
        ("/executions/{}/events", "text/event-stream"),
        ("/executions/{}/events", "application/json"),
    ],
)
@pytest.mark.parametrize("types", ["*,log", "progress,status_changed"])
def test_envelope_streams_refuse_log_and_frame_types(
    api: httpx.Client, running_execution: str, path: str, accept: str, types: str
) -> None:
    url = httpx.URL(path.format(running_execution)).copy_merge_params({"types": types})
    answer = api.get(url, headers={"Accept": accept})
    assert refused(answer, 422, "invalid")["errors"][0]["path"] == "types"
