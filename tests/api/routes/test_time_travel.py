"""The past of an execution: its states, its events, and differences between versions."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.api_client import JSON, RESULT, Executions, ok, refused

STORY = ("created", "starting", "started", "step.started", "step.completed", "completed")
IMMUTABLE = "private, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def execution(executions: Executions) -> str:
    """Created, started, one step, completed: six versions."""
    identity = str(executions.create()["$id"])
    executions.tell(identity, "start")
    executions.tell(identity, "steps/s-1/start", name="Research", input={"lead": 42})
    executions.tell(identity, "steps/s-1/complete", output={"emails": 2})
    executions.tell(identity, "complete", **RESULT)
    return identity


def history(api: httpx.Client, execution: str, **query: str | int) -> JSON:
    return ok(api.get(f"/executions/{execution}/events", params=query))


def test_every_version_is_shown_as_it_was(api: httpx.Client, execution: str) -> None:
    statuses = ["queued", "starting", "running", "running", "running", "completed"]
    for version, status in enumerate(statuses, 1):
        shown = ok(api.get(f"/executions/{execution}?version={version}"))
        assert (shown["version"], shown["status"]) == (version, status)
        assert len(shown["steps"]) == (1 if version > 3 else 0)


def test_past_version_is_immutable_and_cacheable(api: httpx.Client, execution: str) -> None:
    first = api.get(f"/executions/{execution}?version=4")
    assert first.headers["cache-control"] == IMMUTABLE
    assert first.headers["etag"] == '"4"'
    assert api.get(f"/executions/{execution}?version=4").content == first.content
    for tag in ('"4"', 'W/"4"', '"9", "4"', "*"):
        headers = {"If-None-Match": tag}
        again = api.get(f"/executions/{execution}?version=4", headers=headers)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == '"4"'


def test_current_state_is_revalidated_by_caches(api: httpx.Client, executions: Executions) -> None:
    identity = executions.running()
    for path in (f"/executions/{identity}", f"/executions/{identity}/progress"):
        assert api.get(path).headers["cache-control"] == "private, no-cache"
    known = {"If-None-Match": api.get(path).headers["etag"]}
    assert api.get(path, headers=known).status_code == 304
    executions.tell(identity, "progress", progress=10)
    assert api.get(path, headers=known).json() == 10


def test_every_part_can_be_read_at_a_version(api: httpx.Client, execution: str) -> None:
    def part(name: str, version: int) -> object:
        response = api.get(f"/executions/{execution}/{name}?version={version}")
        assert response.headers["cache-control"] == IMMUTABLE
        assert response.is_success
        return response.json()

    assert part("status", 2) == "starting"
    assert part("status", 6) == "completed"
    assert part("result", 5) is None
    assert part("progress", 6) == 100
    assert [step["status"] for step in ok(api.get(f"/executions/{execution}/steps"))] == [  # type: ignore[index]  # a list
        "completed"
    ]
    assert ok(api.get(f"/executions/{execution}/steps/s-1?version=4"))["status"] == "running"
    refused(api.get(f"/executions/{execution}/steps/s-1?version=3"), 404, "not-found")


def test_document_at_a_time_is_as_recorded_then(api: httpx.Client, execution: str) -> None:
    for event in history(api, execution)["data"]:
        shown = ok(api.get(f"/executions/{execution}", params={"at": event["time"]}))
        assert shown["version"] >= event["version"]
        assert shown["metadata"]["updatedAt"] == event["time"]
    refused(api.get(f"/executions/{execution}?at=2001-01-01T00:00:00Z"), 404, "not-found")


def test_only_a_read_at_a_past_time_is_immutable(api: httpx.Client, executions: Executions) -> None:
    identity = executions.running()
    then = ok(api.get(f"/executions/{identity}"))["metadata"]["updatedAt"]
    to_come = {"at": "2999-01-01T00:00:00Z"}
    shown = api.get(f"/executions/{identity}", params=to_come)
    assert "immutable" not in shown.headers["cache-control"]
    executions.tell(identity, "progress", progress=10)
    assert ok(api.get(f"/executions/{identity}", params=to_come))["progress"] == 10
    past = api.get(f"/executions/{identity}", params={"at": then})
    assert past.headers["cache-control"] == IMMUTABLE
    assert ok(past)["progress"] == 0


@pytest.mark.parametrize("part", ["metrics", ""])
def test_durations_at_a_time_count_until_then(
    api: httpx.Client, executions: Executions, part: str
) -> None:
    identity = executions.running()
    begun = metrics(api, identity)["startedAt"]
    time.sleep(0.05)
    executions.tell(identity, "progress", progress=10)
    for after in (7, 0, 23):
        then = (datetime.fromisoformat(begun) + timedelta(milliseconds=after)).isoformat()
        past = api.get(f"/executions/{identity}/{part}".rstrip("/"), params={"at": then})
        assert past.headers["cache-control"] == IMMUTABLE
        shown = ok(past) if part else ok(past)["metrics"]
        assert (shown["duration"], shown["durationFinal"]) == (after, False)
        assert shown["activeDuration"] == after
        assert api.get(past.url, headers={"If-None-Match": '"3"'}).status_code == 304


def test_durations_at_a_time_count_until_then_but_never_beyond_now(
    api: httpx.Client, executions: Executions
) -> None:
    identity = executions.running()
    begun = datetime.fromisoformat(metrics(api, identity)["startedAt"])
    time.sleep(0.05)
    silent = {"at": (begun + timedelta(milliseconds=20)).isoformat()}
    assert metrics(api, identity, **silent)["duration"] == 20
    to_come = {"at": "2999-01-01T00:00:00Z"}
    before = (datetime.now(UTC) - begun) // timedelta(milliseconds=1)
    received = metrics(api, identity, **to_come)["duration"]
    assert before <= received <= (datetime.now(UTC) - begun) // timedelta(milliseconds=1)
    path = f"/executions/{identity}/metrics"
    assert api.get(path, params=to_come, headers={"If-None-Match": "*"}).status_code == 200
    assert api.get(path, params=silent, headers={"If-None-Match": "*"}).status_code == 304


def test_metrics_are_revalidated_until_the_execution_has_ended(
    api: httpx.Client, executions: Executions
) -> None:
    identity = executions.running()
    path, known = f"/executions/{identity}/metrics", {"If-None-Match": '"3"'}
    first = ok(api.get(path, headers=known))["duration"]
    time.sleep(0.01)
    assert ok(api.get(path, headers=known))["duration"] > first
    assert api.get(f"{path}?version=3", headers=known).status_code == 304
    executions.tell(identity, "complete", **RESULT)
    ended = api.get(path)
    known = {"If-None-Match": ended.headers["etag"]}
    assert api.get(path, headers=known).status_code == 304


def metrics(api: httpx.Client, execution: str, **query: str) -> JSON:
    return ok(api.get(f"/executions/{execution}/metrics", params=query))


def test_version_or_time_before_the_beginning_is_not_found(
    api: httpx.Client, execution: str
) -> None:
    refused(api.get(f"/executions/{execution}?version=7"), 404, "not-found")
    refused(api.get(f"/executions/{execution}?version=0"), 422, "invalid")
    refused(api.get(f"/executions/{execution}?version=1&at=2026-01-01T00:00:00Z"), 422, "invalid")
    refused(api.get(f"/executions/{execution}?at=yesterday"), 422, "invalid")
    refused(api.get("/executions/no-such?version=1"), 404, "not-found")


def test_history_is_envelopes_in_order(api: httpx.Client, execution: str) -> None:
    received = history(api, execution)["data"]
    assert tuple(event["type"].removeprefix("execution.") for event in received) == STORY
    assert [event["version"] for event in received] == [1, 2, 3, 4, 5, 6]
    assert [event["position"] for event in received] == sorted(
        event["position"] for event in received
    )
    for event in received:
        assert event["specversion"] == "1.0"
        assert event["id"] == str(event["position"])
        assert event["source"] == f"/api/executions/{execution}"
        assert event["subject"] == execution
        assert datetime.fromisoformat(event["time"]) <= datetime.now(UTC)
    assert received[-1]["data"]["result"] == RESULT


def test_history_is_paged_both_ways_and_by_type(api: httpx.Client, execution: str) -> None:
    for order in ("asc", "desc"):
        versions: list[int] = []
        page = history(api, execution, order=order, limit=4)
        versions += [event["version"] for event in page["data"]]
        assert page["hasMore"]
        page = history(api, execution, order=order, limit=4, cursor=page["nextCursor"])
        versions += [event["version"] for event in page["data"]]
        assert (page["hasMore"], page["nextCursor"]) == (False, None)
        assert versions == sorted(range(1, 7), reverse=order == "desc")
    steps = history(api, execution, types="execution.step.*,execution.created")["data"]
    assert [event["version"] for event in steps] == [1, 4, 5]


def test_diff_changes_one_version_to_the_other_and_names_the_events(
    api: httpx.Client, execution: str
) -> None:
    response = api.get(f"/executions/{execution}/diff?from=3&to=6")
    assert response.headers["content-type"] == "application/json-patch+json"
    assert response.headers["cache-control"] == IMMUTABLE
    patch = response.json()
    by_path = {operation["path"]: operation for operation in patch}
    assert by_path["/status"]["value"] == "completed"
    assert by_path["/status"]["event"]["type"] == "execution.completed"
    assert by_path["/result"]["value"] == RESULT
    assert {operation["actor"] for operation in patch} == {"admin"}
    before, after = (ok(api.get(f"/executions/{execution}?version={v}")) for v in (3, 6))
    assert apply_patch(before, patch) == after


def apply_patch(document: JSON, patch: list[JSON]) -> JSON:
    """Apply a JSON Patch (RFC 6902) to objects and to the ends of lists."""
    for operation in patch:
        *way, name = operation["path"].strip("/").split("/")
        place: Any = document
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if operation["op"] == "remove":
            del place[name]
        elif isinstance(place, list):
            place.insert(len(place) if name == "-" else int(name), operation["value"])
        else:
            place[name] = operation["value"]
    return document


def test_diff_needs_existing_versions_in_order(api: httpx.Client, execution: str) -> None:
    path = f"/executions/{execution}/diff"
    assert api.get(path, params={"from": 3, "to": 3}).json() == []
    refused(api.get(path, params={"from": 6, "to": 3}), 422, "invalid")
    refused(api.get(path, params={"from": 3, "to": 7}), 404, "not-found")
    refused(api.get(path, params={"from": 3}), 422, "invalid")
