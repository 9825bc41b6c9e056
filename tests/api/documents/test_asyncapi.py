"""The AsyncAPI document describes every frame that streams send."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from api.documents import asyncapi
from api.streaming.encoding import SSE, WEBSOCKET
from api.web.streams.stream_request import STREAM_OPERATIONS
from projections.representations import stream_frames
from tests.support.api_client import ERROR, RESULT, Executions, ok
from tests.support.declared import nullable
from tests.support.operations import OPERATIONS
from tests.support.running_server import Serving, serving
from tests.support.stream_consumers import past, read_until_closed, socket, until_caught_up

JSON = dict[str, Any]
MODELS: dict[str, type[BaseModel]] = {
    **{kind: model for model in stream_frames.FRAMES for kind in model.kinds()},
    **{model.kind(): model for model in stream_frames.CONTROLS},
}


@pytest.fixture
def eventful_execution(executions: Executions, retrying_execution: str) -> str:
    """An execution with every event that watchers get a frame for."""
    one = retrying_execution
    executions.tell(one, "start")
    for step in ("first", "second"):
        executions.tell(one, f"steps/{step}/start")
    executions.tell(one, "steps/first/fail", **ERROR)
    executions.tell(one, "steps/second/complete")
    executions.tell(one, "steps", steps=[{"id": "third", "name": "Third"}])
    executions.tell(one, "steps/third/skip", reason="not needed")
    executions.tell(one, "pause", reason="lunch")
    executions.tell(one, "resume")
    executions.tell(one, "complete", **RESULT)
    return one


@pytest.fixture
def neglected_execution(api: httpx.Client, server: Serving, executions: Executions) -> str:
    """An execution that stalled, recovered, and lost its lease."""
    one = str(executions.create(heartbeatTimeout=1_000)["$id"])
    ok(api.post("/executions/claim", json={"worker": "w-1", "lease": 2_000}))
    for awaited, command in (("stalled", "heartbeat"), ("released", "cancel")):
        with socket(server, f"/executions/{one}/watch") as opened:
            assert any(frame.get("type") == awaited for frame in read_until_closed(opened))
        executions.tell(one, command)
    return one


def test_every_frame_of_watchers_is_described(
    server: Serving, executions: Executions, eventful_execution: str, neglected_execution: str
) -> None:
    read = past(server, f"/executions/{eventful_execution}/watch", include="execution")
    read += past(server, f"/executions/{eventful_execution}/watch")
    read += past(server, f"/executions/{neglected_execution}/watch")
    for command, body in (("fail", ERROR), ("cancel", {})):
        execution = executions.running()
        executions.tell(execution, command, **body)
        read += past(server, f"/executions/{execution}/watch")
    for frame in read:
        MODELS[frame["type"]].model_validate(frame, strict=False)
    kinds = {kind for model in stream_frames.FRAMES for kind in model.kinds()}
    assert {frame["type"] for frame in read} == kinds


def test_log_frame_is_described(server: Serving, api: httpx.Client, running_execution: str) -> None:
    with socket(server, f"/executions/{running_execution}/watch", types="log") as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        line = {"level": "warn", "message": "Slow", "step": "a", "context": {"seconds": 3}}
        ok(api.post(f"/executions/{running_execution}/logs", json=line))
        shown = stream_frames.Log.model_validate(next(frames), strict=False)
    assert shown.model_dump(include=set(line)) == line


def test_every_envelope_and_control_frame_is_described(database: str) -> None:
    with serving(database) as server, server.client() as client:
        ok(client.post("/users", json={"name": "Ann", "kind": "person"}))
        with socket(server, "/events", **{"from": "start", "types": "user.*"}) as opened:
            frames = read_until_closed(opened)
            read = until_caught_up(frames)
            server.ask_to_stop()
            read += frames
    for frame in read:
        if "specversion" in frame:
            stream_frames.Envelope.model_validate(frame, strict=False)
        else:
            MODELS[frame["type"]].model_validate(frame, strict=False)


# Members that every frame has and that may be null, as no value was given or it was erased.
NULLS = {
    "Cancelled.reason",
    "Completed.result",
    "Envelope.data",
    "Log.message",
    "Paused.reason",
    *("ServiceExecution.result", "ServiceExecution.timeout"),
    *("ShownCancellation.reason", "ShownCheckpoint.state"),
    *("ShownError.message", "ShownError.stack", "ShownLog.message"),
    *("ShownPause.reason", "ShownStep.input", "ShownStep.output", "ShownStep.reason"),
}


def test_frame_member_is_nullable_in_asyncapi_only_where_it_can_be_null() -> None:
    described = asyncapi.document(row for row in OPERATIONS if row.name in STREAM_OPERATIONS)
    found = {
        f"{name}.{member}"
        for name, schema in described["components"]["schemas"].items()
        for member, shown in schema.get("properties", {}).items()
        if nullable(shown) or shown.get("default", "") is None
    }
    assert found == NULLS


MORE: dict[Any, JSON] = {
    stream_frames.Closing: {"retry": 1_000},
    stream_frames.CaughtUp: {"log": "the id of the log"},
}


@pytest.mark.parametrize("model", stream_frames.CONTROLS)
def test_frame_about_the_stream_is_described_for_both_transports(
    model: type[stream_frames.ControlFrame],
) -> None:
    more = MORE.get(model, {})
    chunk = SSE.control(model.kind(), 7, more)
    event, data = re.findall(rb"^(?:event|data): (.*)$", chunk, re.MULTILINE)
    assert event.decode() == model.kind()
    received = model.model_validate_json(data)
    frame = WEBSOCKET.control(model.kind(), 7, more)
    assert model.model_validate_json(frame[2:]) == received
    assert b"type" in frame


def fits(model: type[BaseModel], frame: JSON) -> bool:
    try:
        return bool(model.model_validate(frame, strict=False))
    except ValidationError:
        return False


@pytest.mark.parametrize("format_", ["watch", "events"])
@pytest.mark.parametrize("end", ["events", "watch"])
def test_every_frame_of_every_path_is_a_message_of_its_channel(
    server: Serving, api: httpx.Client, completed_execution: str, end: str, format_: str
) -> None:
    address = f"/executions/{{id}}/{end}"
    channels = api.get("/asyncapi.json").json()["channels"].values()
    (channel,) = (channel for channel in channels if channel["address"] == address)
    read = past(server, address.format(id=completed_execution), format=format_)
    for frame in read:
        assert [
            name for name in channel["messages"] if fits(getattr(stream_frames, name), frame)
        ], frame


def test_document_has_every_path_of_a_stream(api: httpx.Client) -> None:
    document = api.get("/asyncapi.json").json()
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"].keys() == STREAM_OPERATIONS.keys()
    openapi = api.get("/openapi.json").json()
    for channel in document["channels"].values():
        assert channel["address"] in openapi["paths"]


def test_every_reference_of_the_document_can_be_resolved(api: httpx.Client) -> None:
    document = api.get("/asyncapi.json").json()

    def check(part: Any) -> None:
        if isinstance(part, dict):
            if isinstance(ref := part.get("$ref"), str):
                found: Any = document
                for name in ref.removeprefix("#/").split("/"):
                    found = found[name]
            for inner in part.values():
                check(inner)
        elif isinstance(part, list):
            for inner in part:
                check(inner)

    check(document)
