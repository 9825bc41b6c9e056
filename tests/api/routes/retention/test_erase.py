"""`POST /executions/:id/erase`: its refusals, its answer, and all reads after the erasure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.api_client import JSON, Executions, ok, refused

WORD = "Sesame"
REASON = {"reason": "Jane asked for it"}
HOOK = {
    "url": "https://hooks.example/hook",
    "events": ["completed"],
    "headers": {"Authorization": WORD},
}


@pytest.fixture
def written(executions: Executions) -> str:
    """An execution with content in every sealed field."""
    id_ = executions.running(webhooks=[HOOK], tags=["eu"])
    executions.tell(id_, "steps/s-1/start", name="Research", input={"a": WORD})
    executions.tell(id_, "steps/s-1/complete", output=WORD)
    executions.tell(id_, "checkpoints", state={"page": WORD})
    executions.tell(id_, "logs", level="info", message=WORD, context={"a": WORD})
    executions.tell(id_, "complete", success=True, output={"found": WORD}, summary=WORD)
    return id_


@pytest.fixture
def erased(executions: Executions, written: str) -> str:
    executions.tell(written, "erase", **REASON)
    return written


def events(api: httpx.Client, id_: str) -> list[JSON]:
    found: list[JSON] = ok(api.get(f"/executions/{id_}/events", params={"limit": 100}))["data"]
    return found


def test_answer_has_null_for_content_and_is_marked_erased(
    executions: Executions, written: str
) -> None:
    shown = executions.tell(written, "erase", **REASON)
    assert WORD not in str(shown)
    assert shown["erased"] is True
    assert shown["result"] is None
    assert shown["steps"][0]["input"] is None
    assert shown["status"] == "completed"


def test_event_has_only_the_actor_and_the_reason(api: httpx.Client, erased: str) -> None:
    last = events(api, erased)[-1]
    assert (last["type"], last["actor"]) == ("execution.erased", "admin")
    assert last["data"] == REASON


PATHS = (
    *("", "/result", "/steps", "/steps/s-1", "/checkpoints", "/logs", "/attempts", "/webhooks"),
    *(
        "/events",
        "?version=5",
        "/steps?version=5",
        "/diff?from=1&to=6",
        "/events?include=execution",
    ),
)


@pytest.mark.parametrize("path", PATHS)
def test_no_read_shows_content(api: httpx.Client, erased: str, path: str) -> None:
    answer = api.get(f"/executions/{erased}{path}")
    assert answer.status_code in {200, 422}, answer.text
    assert WORD not in answer.text


@pytest.mark.parametrize("path", ["", "?version=5", "/steps/s-1", "/steps/s-1?version=5"])
def test_document_is_marked_erased_at_every_version(
    api: httpx.Client, erased: str, path: str
) -> None:
    assert ok(api.get(f"/executions/{erased}{path}"))["erased"] is True


def test_lists_lines_and_events_are_marked_erased(api: httpx.Client, erased: str) -> None:
    head = ok(api.get(f"/executions/{erased}"))["position"]
    listed = api.get("/executions", params={"minPosition": head, "limit": 500})
    [found] = [entry for entry in ok(listed)["data"] if entry["$id"] == erased]
    assert (found["erased"], found["result"]) == (True, None)
    past = ok(api.get("/executions", params={"at": found["metadata"]["completedAt"], "limit": 500}))
    assert WORD not in str([entry for entry in past["data"] if entry["$id"] == erased])
    line = ok(api.get(f"/executions/{erased}/logs"))["data"][0]
    assert (line["message"], line["erased"]) == (None, True)
    of_step = next(e for e in events(api, erased) if e["type"] == "execution.step.completed")
    assert (of_step["data"]["output"], of_step["erased"]) == (None, True)


def test_erased_document_has_no_duplicate_member(api: httpx.Client, erased: str) -> None:
    def once(pairs: list[tuple[str, Any]]) -> JSON:
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    for path in ("", "?version=5", "/events?include=execution"):
        json.loads(api.get(f"/executions/{erased}{path}").text, object_pairs_hook=once)


def test_past_version_that_was_cached_before_the_erasure_is_sent_again(
    api: httpx.Client, executions: Executions, written: str
) -> None:
    path = f"/executions/{written}?version=5"
    before = api.get(path)
    known = {"If-None-Match": before.headers["etag"]}
    assert api.get(path, headers=known).status_code == 304
    executions.tell(written, "erase", **REASON)
    after = api.get(path, headers=known)
    assert (after.status_code, WORD in after.text) == (200, False)
    assert "immutable" in before.headers["cache-control"]
    assert "immutable" not in after.headers["cache-control"]


def test_streams_of_earlier_events_show_null(api: httpx.Client, erased: str) -> None:
    head = ok(api.get(f"/executions/{erased}"))["position"]
    accept = {"Accept": "text/event-stream"}
    for path in (f"/executions/{erased}/events", f"/executions/{erased}/watch", "/events"):
        query = {"from": "start", "speed": "0"}
        with api.stream("GET", path, params=query, headers=accept) as stream:
            frames = _until(stream.iter_lines(), head)
        assert WORD not in "".join(line for line in frames if erased in line)


def _until(lines: Iterator[str], position: int) -> list[str]:
    """The frames of a stream until it ends, or is at a position."""
    found = []
    for line in lines:
        found.append(line)
        if line == f"id: {position}":
            found.append(next(lines, ""))
            found.append(next(lines, ""))
            break
    return found


def test_verification_of_an_erased_execution_has_no_fault(api: httpx.Client, erased: str) -> None:
    head = ok(api.get(f"/executions/{erased}"))["position"]
    asked = {"minPosition": head}
    wait = {"Prefer": "wait=20"}
    found = ok(api.get(f"/executions/{erased}/verify", params=asked, headers=wait))
    assert (found["fits"], found["faults"]) == (True, [])


def test_second_erasure_changes_nothing_and_is_refused_with_another_reason(
    api: httpx.Client, executions: Executions, erased: str
) -> None:
    version = ok(api.get(f"/executions/{erased}"))["version"]
    assert executions.tell(erased, "erase", **REASON)["version"] == version
    again = api.post(f"/executions/{erased}/erase", json={"reason": "another"})
    refused(again, 409, "erased")


REFUSED: tuple[tuple[str, Any], ...] = (
    ("logs", {"level": "info", "message": "more"}),
    ("steps/s-2/start", {"name": "More", "input": 1}),
    ("complete", {"success": True, "output": {"found": WORD}, "summary": WORD}),
)


@pytest.mark.parametrize(("path", "body"), REFUSED)
def test_command_with_new_content_is_refused(
    api: httpx.Client, erased: str, path: str, body: JSON
) -> None:
    answer = api.post(f"/executions/{erased}/{path}", json=body)
    assert answer.status_code == 409, answer.text
    assert answer.json()["type"] in {"/problems/erased", "/problems/illegal-transition"}


def test_tags_and_usage_are_accepted_and_their_answers_show_no_content(
    api: httpx.Client, executions: Executions, erased: str
) -> None:
    shown = ok(api.patch(f"/executions/{erased}", json={"tags": ["us"]}))
    assert (shown["tags"], shown["erased"]) == (["us"], True)
    assert executions.tell(erased, "metrics", tokensUsed=1)["metrics"]["tokensUsed"] == 1


def test_retry_of_an_erased_execution_is_refused(
    api: httpx.Client, executions: Executions, failed_execution: str
) -> None:
    executions.tell(failed_execution, "erase", **REASON)
    refused(api.post(f"/executions/{failed_execution}/retry", json={}), 409, "erased")


def test_running_execution_is_cancelled_by_its_erasure(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    shown = executions.tell(running_execution, "erase", **REASON)
    assert (shown["status"], shown["erased"]) == ("cancelled", True)
    types = [event["type"] for event in events(api, running_execution)]
    assert types[-2:] == ["execution.cancelled", "execution.erased"]


def test_erasure_is_refused_with_the_name_of_the_hold_until_it_is_released(
    api: httpx.Client, executions: Executions, written: str
) -> None:
    hold = ok(api.post("/holds", json={"executions": [written], "reason": "Audit"}))["$id"]
    problem = refused(api.post(f"/executions/{written}/erase", json=REASON), 409, "held")
    assert problem["holds"] == [hold]
    assert ok(api.get(f"/executions/{written}"))["result"]["summary"] == WORD
    ok(api.request("DELETE", f"/holds/{hold}", json={"reason": "over"}))
    executions.tell(written, "erase", **REASON)


@pytest.mark.parametrize("scope", ["order", "service", "customer"])
def test_erasure_is_refused_by_a_hold_on_the_order_service_or_customer(
    api: httpx.Client, written: str, scope: str
) -> None:
    of = ok(api.get(f"/executions/{written}"))[scope]
    hold = ok(api.post("/holds", json={scope: of, "reason": "Audit"}))["$id"]
    problem = refused(api.post(f"/executions/{written}/erase", json=REASON), 409, "held")
    ok(api.request("DELETE", f"/holds/{hold}", json={"reason": "over"}))
    assert hold in problem["holds"]


def test_erasure_never_misses_a_hold_that_was_placed_first(
    api: httpx.Client, executions: Executions
) -> None:
    """Both are sent at once: the execution is erased before the hold is placed, or not at all."""
    with ThreadPoolExecutor(2) as together:
        for _ in range(10):
            id_ = executions.running()
            held = together.submit(
                api.post, "/holds", json={"executions": [id_], "reason": "Audit"}
            )
            erased = together.submit(api.post, f"/executions/{id_}/erase", json=REASON)
            hold = ok(held.result())
            if erased.result().status_code == 200:
                [event] = [e for e in events(api, id_) if e["type"] == "execution.erased"]
                assert event["position"] < hold["position"]
            else:
                problem = refused(erased.result(), 409, "held")
                assert problem["holds"] == [hold["$id"]]


def test_unknown_execution_and_missing_reason_are_refused(api: httpx.Client, written: str) -> None:
    refused(api.post("/executions/no-such/erase", json=REASON), 404, "not-found")
    problem = refused(api.post(f"/executions/{written}/erase", json={}), 422, "invalid")
    assert problem["errors"][0]["path"] == "reason"


def test_dry_run_erases_nothing(api: httpx.Client, written: str) -> None:
    answer = api.post(f"/executions/{written}/erase", json=REASON, params={"dryRun": "true"})
    assert "execution.erased" in answer.text
    assert ok(api.get(f"/executions/{written}"))["result"]["summary"] == WORD


def test_replayed_answer_from_before_the_erasure_shows_no_content(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    key = {"Idempotency-Key": f"key-{running_execution}"}
    body = {"success": True, "output": {"found": WORD}, "summary": WORD}
    first = api.post(f"/executions/{running_execution}/complete", json=body, headers=key)
    assert WORD in first.text
    executions.tell(running_execution, "erase", **REASON)
    again = api.post(f"/executions/{running_execution}/complete", json=body, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert WORD not in again.text
