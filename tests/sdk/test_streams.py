"""Streams reconnect and yield every frame once, whatever happens to the connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service_executions import AsyncClient, Client, FileCursor, OtherLog, Place
from service_executions._sync import streams
from tests.support.scripted_service import ScriptedService, problem

PAUSES: list[float] = []


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    PAUSES.clear()
    monkeypatch.setattr(streams, "sleep", PAUSES.append)


def visit(*parts: str, cut: bool = False, **headers: str) -> httpx2.Response:
    """One connection of a stream, which ends properly or breaks."""

    class Body(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from (part.encode() for part in parts)
            if cut:
                raise httpx2.ReadError("connection reset")

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(
        200, headers={"content-type": "text/event-stream", **named}, stream=Body()
    )


def frame(position: int, kind: str = "progress", *, more: bool = False, **members: Any) -> str:
    data = {"type": kind, "execution": "run-1", "position": position, **members}
    if more:
        return f"event: {kind}\ndata: {json.dumps({**data, 'more': True})}\n\n"
    return f"id: {position}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


def event(position: int) -> str:
    data = {
        "id": str(position),
        "type": "execution.progress",
        "source": "/api/executions/run-1",
        "subject": "run-1",
        "time": "2026-11-22T08:00:00.000Z",
        "position": position,
        "version": position,
        "data": {},
    }
    return f"id: {position}\nevent: execution.progress\ndata: {json.dumps(data)}\n\n"


def about(kind: str, position: int, retry: int | None = None) -> str:
    said = f"retry: {retry}\n" if retry is not None else ""
    return f'id: {position}\n{said}event: {kind}\ndata: {{"position": {position}}}\n\n'


ENDED = httpx2.Response(204)


def places(service: ScriptedService) -> list[str | None]:
    return service.sent("last-event-id")


def test_lost_connection_is_resumed_after_the_last_frame() -> None:
    service = ScriptedService(
        visit(frame(1), frame(2), cut=True), visit(frame(2), frame(3), frame(4)), ENDED
    )
    seen = [each.position for each in service.client().executions["run-1"].watch()]
    assert seen == [1, 2, 3, 4]
    assert places(service) == [None, "2", "4"]


def test_event_of_several_frames_is_completed_after_a_reconnect() -> None:
    whole = (
        frame(5, "progress", more=True),
        frame(5, "status_changed", more=True),
        frame(5, "completed"),
    )
    service = ScriptedService(
        visit(frame(4), *whole[:2], cut=True), visit(whole[0], cut=True), visit(*whole), ENDED
    )
    seen = [(each.position, each.type) for each in service.client().executions["run-1"].watch()]
    assert seen == [(4, "progress"), (5, "progress"), (5, "status_changed"), (5, "completed")]
    assert places(service) == [None, "4", "4", "5"]


def test_frames_about_the_stream_move_the_cursor_and_are_not_shown() -> None:
    service = ScriptedService(
        visit(about("checkpoint", 7), about("caught-up", 8), frame(9)),
        visit(about("fell-behind", 9), about("closing", 9, retry=1500)),
        ENDED,
    )
    lost: list[str] = []
    stream = service.client().executions["run-1"].watch(on_lost=lambda why, _: lost.append(why))
    assert next(stream).position == 9
    caught_up = [stream.caught_up]
    assert list(stream) == []
    assert [*caught_up, stream.caught_up] == [True, False]
    assert places(service) == [None, "9", "9"]
    assert PAUSES[-1] == 1.5
    assert lost == ["http://service.test is going away"]


def test_unreachable_service_is_waited_for_and_refusals_are_raised() -> None:
    lost: list[str] = []
    service = ScriptedService(
        httpx2.ConnectError("refused"),
        problem(503, "overloaded", retry_after=3),
        visit(frame(1)),
        problem(410, "other-log", log="b"),
    )
    stream = service.client().executions["run-1"].watch(on_lost=lambda why, _: lost.append(why))
    assert next(stream).position == 1
    assert PAUSES[1] == 3.0
    assert len(lost) == 2
    with pytest.raises(OtherLog) as refused:
        next(stream)
    assert refused.value.log == "b"


def test_listener_begins_at_the_head_of_the_log() -> None:
    service = ScriptedService(visit(cut=True, log_position="41", log_id="a"), visit(event(42)))
    assert next(service.client().listen()).position == 42
    assert places(service) == [None, "41"]
    assert service.requests[0].url.params["from"] == "now"
    assert service.requests[1].url.params["log"] == "a"


def test_cursor_moves_once_an_event_is_handled(tmp_path: Path) -> None:
    file = tmp_path / "place.json"
    service = ScriptedService(visit(event(1), event(2), event(3), log_id="a"))
    with service.client().listen(start="start", cursor=str(file)) as stream:
        next(stream)
        assert FileCursor(file).load() is None
        next(stream)
        assert FileCursor(file).load() == Place(1, "a")
    again = ScriptedService(visit(event(2)))
    assert next(again.client().listen(start="start", cursor=FileCursor(file))).position == 2
    assert places(again) == ["1"]
    assert dict(again.requests[0].url.params) == {"log": "a"}


def test_file_that_is_not_a_cursor_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "place.json"
    file.write_text("important")
    with pytest.raises(ValueError, match="not the file of a cursor"):
        FileCursor(file).load()
    assert file.read_text() == "important"


def test_filters_and_types_are_in_the_query() -> None:
    service = ScriptedService(visit(event(1)))
    next(service.client().listen(["execution.step.*", "*.failed"], start=7, service="sdr"))
    assert dict(service.requests[0].url.params) == {
        "types": "execution.step.*,*.failed",
        "service": "sdr",
        "from": "7",
    }


def test_watcher_of_one_execution_sees_all_its_events(client: Client) -> None:
    run = client.executions.create(order="order-batch", service="batch", status="running")
    run.start_step("a", "A")
    run.complete_step("a")
    run.complete()
    seen = [each.type for each in client.executions.watch(run)]
    assert seen[-1] == "completed"
    assert {"step.started", "step.completed", "progress"} <= set(seen)
    lines = [line.message for line in run.follow_logs()]
    assert lines == ["Request completed"]


async def test_asynchronous_listener_receives_all_events(
    client: Client, async_client: AsyncClient
) -> None:
    run = client.executions.create(order="order-batch", service="batch")
    run.start()
    run.cancel()
    async with async_client.listen(start="start", order="order-batch") as stream:
        async for each in stream:
            if each.type == "execution.cancelled" and each.subject == run.id:
                break
    async with async_client.executions.watch(order="order-batch", start=run.position - 1) as frames:
        assert (await anext(frames)).position == run.position
