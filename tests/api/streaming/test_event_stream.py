"""The events of the log and of one execution as server-sent events: where a stream begins, resumes and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import httpx
import pytest

from api.web.reads.recorded import Recorder
from tests.support.api_client import RESULT, Executions, ok, refused
from tests.support.running_server import Serving
from tests.support.sse_client import Frame, frames, opened, positions, until_caught_up
from tests.support.stream_consumers import socket

SSE = {"Accept": "text/event-stream"}


def head(api: httpx.Client) -> int:
    return int(ok(api.get("/readyz"))["position"])


def past(api: httpx.Client, path: str = "/events", **start: str) -> list[Frame]:
    with opened(api, path, **start) as source:
        return until_caught_up(source)


def test_log_is_streamed_from_its_first_event_without_a_hole(
    api: httpx.Client, completed_execution: str
) -> None:
    read = past(api, **{"from": "start"})
    assert positions(read) == list(range(1, head(api) + 1))
    for frame in read:
        if frame.is_event:
            assert frame.id == frame.data["id"] == str(frame.data["position"])
            assert frame.type == frame.data["type"]
            assert frame.data["specversion"] == "1.0"


def test_stream_of_the_log_begins_now_by_default(api: httpx.Client, executions: Executions) -> None:
    with opened(api) as source:
        assert [frame.type for frame in until_caught_up(source)] == ["caught-up"]
    with opened(api, **{"from": "now"}) as source:
        reading = frames(source)
        assert next(reading).type == "caught-up"
        created = executions.create()
        assert next(reading).data["subject"] == created["$id"]


def test_stream_may_begin_at_a_position_or_a_time(
    api: httpx.Client, executions: Executions
) -> None:
    before = executions.create()["position"]
    marked = executions.create()
    executions.create()
    after_before = list(range(before + 1, head(api) + 1))
    assert positions(past(api, **{"from": str(before)})) == after_before
    assert positions(past(api, **{"from": marked["metadata"]["createdAt"]})) == after_before
    assert positions(past(api, **{"from": "2001-01-01T00:00:00Z"})) == list(range(1, head(api) + 1))
    assert positions(past(api, **{"from": "2999-01-01T00:00:00Z"})) == []


def test_stream_of_one_execution_starts_at_its_beginning_and_continues_live(
    api: httpx.Client, executions: Executions, queued_execution: str
) -> None:
    with opened(api, f"/executions/{queued_execution}/events") as source:
        reading = frames(source)
        assert next(reading).type == "execution.created"
        assert next(frame for frame in reading if not frame.is_event).type in {
            "checkpoint",
            "caught-up",
        }
        executions.create()
        executions.tell(queued_execution, "start")
        received = [frame.type for frame in reading_events(reading, 2)]
    assert received == ["execution.starting", "execution.started"]


def reading_events(reading: Iterator[Frame], count: int) -> list[Frame]:
    return list(islice((frame for frame in reading if frame.is_event), count))


def test_stream_resumed_from_any_of_its_ids_has_every_later_event(
    server: Serving, api: httpx.Client, executions: Executions, paused_execution: str
) -> None:
    executions.create()
    path = f"/executions/{paused_execution}/events"
    read = past(api, path)
    assert not read[-1].is_event
    whole = positions(read)
    for frame in read:
        assert 0 < int(frame.id) <= head(api)
        with opened(api, path, after=frame.id) as source:
            rest = positions(until_caught_up(source))
        assert rest == [position for position in whole if position > int(frame.id)]
    assert read[-1].data == {"position": int(read[-1].id), "log": server.log_id}


def test_stream_ends_after_a_final_event_and_the_reconnect_is_answered_204(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/events"
    with opened(api, path) as source:
        reading = frames(source)
        reading_events(reading, 3)
        executions.tell(running_execution, "complete", **RESULT)
        rest = list(reading)
    last = [frame for frame in rest if frame.is_event][-1]
    assert last.type == "execution.completed"
    again = api.get(path, headers={**SSE, "Last-Event-ID": last.id})
    assert (again.status_code, again.content) == (204, b"")
    with opened(api, path, after=int(last.id) - 1) as source:
        assert positions(list(frames(source))) == [int(last.id)]


def test_stream_of_an_ended_execution_is_complete_and_ends(
    api: httpx.Client, completed_execution: str
) -> None:
    with opened(api, f"/executions/{completed_execution}/events") as source:
        received = [frame.type for frame in frames(source) if frame.is_event]
    assert received[0] == "execution.created"
    assert received[-1] == "execution.completed"


def test_stream_continues_after_a_failure_that_is_retried(
    api: httpx.Client, executions: Executions, retrying_execution: str
) -> None:
    with opened(api, f"/executions/{retrying_execution}/events") as source:
        reading = frames(source)
        assert reading_events(reading, 5)[-1].type == "execution.retry"
        executions.tell(retrying_execution, "cancel")
        assert [f.type for f in reading if f.is_event] == ["execution.cancelled"]


@pytest.mark.parametrize("cursor", ["-1", "1.5", "abc", "1e3", "٣", "9" * 30, "99999999", "0x1"])
def test_cursor_that_is_invalid_or_in_the_future_is_refused(
    api: httpx.Client, running_execution: str, cursor: str
) -> None:
    for path in ("/events", f"/executions/{running_execution}/events"):
        asked = {b"accept": b"text/event-stream", b"last-event-id": cursor.encode()}
        refused(api.get(path, headers=asked), 400, "malformed")
        refused(api.get(path, headers=SSE, params={"from": cursor}), 400, "malformed")


def test_event_stream_needs_its_accept_header(api: httpx.Client, running_execution: str) -> None:
    refused(api.get("/events"), 406, "not-acceptable")
    refused(api.get("/executions/no-such/events", headers=SSE), 404, "not-found")
    refused(api.get("/events?nonsense=1", headers=SSE), 422, "invalid")
    assert ok(api.get(f"/executions/{running_execution}/events"))["data"]


def test_stream_is_not_cacheable(api: httpx.Client) -> None:
    with opened(api) as source:
        headers = source.response.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"


@pytest.mark.usefixtures("running_execution")
def test_event_times_never_decrease(api: httpx.Client) -> None:
    times = [frame.data["time"] for frame in past(api, **{"from": "start"}) if frame.is_event]
    assert times == sorted(times)
    assert datetime.fromisoformat(times[-1]) <= datetime.now(UTC)


def test_log_position_of_a_stream_from_now_precedes_events_written_before_its_answer(
    server: Serving,
    api: httpx.Client,
    running_execution: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that loses the connection before the first frame resumes from this position and misses no event."""
    record, path = Recorder.record_opening, f"/executions/{running_execution}/progress"

    async def write_and_record(self: Recorder, *asked: Any) -> None:
        await asyncio.to_thread(api.post, path, json={"progress": 5})
        await record(self, *asked)

    monkeypatch.setattr(Recorder, "record_opening", write_and_record)
    begin = head(api)
    with opened(api) as source:
        assert source.response.headers["log-position"] == str(begin)
        first = next(frame for frame in frames(source) if frame.is_event)
        assert first.data["position"] == begin + 1
    begin = head(api)
    with socket(server, "/events") as other:
        assert other.response is not None
        assert other.response.headers["log-position"] == str(begin)
