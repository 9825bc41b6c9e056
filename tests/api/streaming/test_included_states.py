"""`include=execution`: each event has the state of the execution after it, in pages, streams and over WebSocket."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support import sse_client
from tests.support.api_client import ERROR, RESULT, Executions, ok, refused
from tests.support.running_server import Serving
from tests.support.stream_consumers import past, read_until_closed, socket, until_caught_up

JSON = dict[str, Any]
HOOK = {"url": "https://hooks.example/x", "events": ["*"], "headers": {"X-Key": "s3cret"}}
POLICY = {"maxRetries": 3, "backoff": "linear", "initialDelay": 60_000, "maxDelay": 60_000}
INCLUDED = {"include": "execution"}


@pytest.fixture(scope="module")
def execution(executions: Executions) -> str:
    """An execution with sealed content, secrets, a retry, and a checkpoint that has a state."""
    one = executions.running(webhooks=[HOOK], retryPolicy=POLICY, tags=["eu"])
    executions.tell(one, "steps/a/start", input={"lead": 42})
    executions.tell(one, "pause", state={"page": 3}, reason="lunch")
    executions.tell(one, "resume")
    executions.tell(one, "fail", **ERROR | {"recoverable": True})
    executions.tell(one, "start")
    executions.tell(one, "steps/a/start")
    executions.tell(one, "steps/a/complete", output={"emails": 2})
    executions.tell(one, "complete", **RESULT)
    return one


def versions(api: httpx.Client, execution: str) -> list[JSON]:
    """The states of the execution at each of its versions."""
    newest = ok(api.get(f"/executions/{execution}"))["version"]
    return [ok(api.get(f"/executions/{execution}?version={v + 1}")) for v in range(newest)]


def states(envelopes: list[JSON]) -> list[JSON]:
    return [envelope["state"] for envelope in envelopes]


def page(api: httpx.Client, execution: str, **query: Any) -> JSON:
    return ok(api.get(f"/executions/{execution}/events", params={**INCLUDED, **query}))


def test_included_state_is_the_version_after_the_event(api: httpx.Client, execution: str) -> None:
    was = versions(api, execution)
    assert len(was) > 10
    assert states(page(api, execution)["data"]) == was
    assert states(page(api, execution, order="desc")["data"]) == was[::-1]
    plain = ok(api.get(f"/executions/{execution}/events"))["data"]
    for with_state, without in zip(page(api, execution)["data"], plain, strict=True):
        assert without == {name: with_state[name] for name in with_state if name != "state"}
    (checkpoint,) = page(api, execution, types="checkpoint")["data"]
    assert checkpoint["data"]["state"] == {"page": 3}
    assert checkpoint["state"]["status"] == "running"


def test_included_states_cover_events_left_out_by_pages_and_types(
    api: httpx.Client, execution: str
) -> None:
    was = versions(api, execution)
    read, cursor = list[JSON](), None
    while True:
        part = page(api, execution, limit=3, **({"cursor": cursor} if cursor else {}))
        read += part["data"]
        if (cursor := part["nextCursor"]) is None:
            break
    assert states(read) == was
    steps = page(api, execution, types="step.*,completed")["data"]
    assert states(steps) == [was[envelope["version"] - 1] for envelope in steps]
    assert len(steps) == 4


@pytest.mark.parametrize("path", ["/executions/{}/events", "/executions/{}/watch"])
def test_streams_include_the_same_states_over_both_transports(
    server: Serving, api: httpx.Client, execution: str, path: str
) -> None:
    expected = page(api, execution)["data"]
    query = {**INCLUDED, "format": "events"}
    assert past(server, path.format(execution), **query) == expected
    with sse_client.opened(api, path.format(execution), **query) as source:
        read = [frame for frame in sse_client.until_caught_up(source) if frame.is_event]
    assert [frame.data for frame in read] == expected
    assert [int(frame.id) for frame in read] == [event["position"] for event in expected]


def test_stream_of_the_log_includes_states_of_executions_only(
    server: Serving, api: httpx.Client, execution: str
) -> None:
    read = past(server, "/events", **{"from": "start"}, **INCLUDED)
    mine = [envelope for envelope in read if envelope["subject"] == execution]
    assert mine == page(api, execution)["data"]
    others = [e for e in read if not e["type"].startswith("execution.")]
    assert others
    assert not any("state" in envelope for envelope in others)


def test_live_event_includes_the_state_after_it(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    with socket(server, "/events", types="execution.*", **INCLUDED) as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        one = executions.running(webhooks=[HOOK])
        executions.tell(one, "progress", progress=50)
        executions.tell(one, "complete", **RESULT)
        read = [next(frames) for _ in range(5)]
    assert states(read) == versions(api, one)


def test_included_states_of_distant_versions_are_those_of_their_versions(
    api: httpx.Client, executions: Executions
) -> None:
    one = executions.running()
    usage = {"command": "recordUsage", "execution": one, "apiCalls": 1}
    for _ in range(2):
        ok(api.post("/commands", json=[usage] * 600))
    executions.tell(one, "pause")
    executions.tell(one, "resume")
    found = page(api, one, types="created,paused,resumed")["data"]
    for envelope in found:
        version = envelope["version"]
        assert envelope["state"] == ok(api.get(f"/executions/{one}?version={version}"))
    assert found[-1]["state"]["metrics"]["apiCalls"] == 1200
    pages = page(api, one, cursor="499", limit=100)["data"]
    assert [state["version"] for state in states(pages)] == list(range(500, 600))
    assert [state["metrics"]["apiCalls"] for state in states(pages)] == list(range(497, 597))


@pytest.mark.parametrize(
    ("query", "path"),
    [({"include": "order"}, "include"), ({"include": "execution", "limit": "101"}, "limit")],
)
def test_unknown_include_is_refused(
    api: httpx.Client, execution: str, query: dict[str, str], path: str
) -> None:
    answer = api.get(f"/executions/{execution}/events", params=query)
    assert refused(answer, 422, "invalid")["errors"][0]["path"] == path
