"""Claims: which execution a worker gets, heartbeats and leases, and refusals after a claim was lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import httpx
import pytest

from tests.support.api_client import Catalog, Executions, ok, refused

QUICK = {"maxRetries": 1, "backoff": "linear", "initialDelay": 1, "maxDelay": 1}
FAILURE = {"code": "SMTP", "message": "No answer", "recoverable": True}


@pytest.fixture
def someone(request: pytest.FixtureRequest) -> str:
    """The id of an assignee whose executions no other test claims."""
    return f"of-{request.node.name[:200]}"


def create_assigned(executions: Executions, someone: str, **fields: Any) -> str:
    assignee = {"type": "ai-agent", "id": someone, "name": "Agent"}
    return str(executions.create(assignee=assignee, **fields)["$id"])


def claim(api: httpx.Client, someone: str, worker: str = "w-1", **more: Any) -> httpx.Response:
    body = {"worker": worker, "assignee": someone, **more}
    return api.post("/executions/claim", json=body)


def test_claim_returns_the_most_urgent_and_then_the_oldest_execution(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = [
        create_assigned(executions, someone, priority=priority)
        for priority in ("normal", "low", "urgent", "normal", "high")
    ]
    claimed = [ok(claim(api, someone))["$id"] for _ in made]
    assert claimed == [made[place] for place in (2, 4, 0, 3, 1)]
    assert claim(api, someone).status_code == 204


def test_claimed_execution_runs_and_shows_its_worker(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone)
    answer = claim(api, someone, lease=30_000)
    shown = ok(answer)
    assert shown["$id"] == made
    assert shown["status"] == "running"
    assert shown["claimedBy"]["worker"] == "w-1"
    assert shown["claimedBy"]["leaseUntil"] > shown["metadata"]["startedAt"]
    assert shown["attempts"][0]["worker"] == "w-1"
    assert answer.headers["log-position"] == str(shown["position"])
    events = ok(api.get(f"/executions/{made}/events"))["data"]
    types = [event["type"].removeprefix("execution.") for event in events]
    assert types == ["created", "claimed", "starting", "started"]
    assert len({event["correlationid"] for event in events[1:]}) == 1


def test_claim_waits_for_an_execution_that_is_queued_later(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(claim, api, someone, wait=20)
        made = create_assigned(executions, someone)
        assert ok(waiting.result())["$id"] == made


def test_claim_at_another_version_is_refused_at_once(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone)
    body = {"worker": "w-1", "assignee": someone, "wait": 20}
    answer = api.post("/executions/claim", json=body, headers={"If-Match": '"99"'})
    refused(answer, 412, "version-mismatch")
    assert ok(api.get(f"/executions/{made}"))["status"] == "queued"


def test_claim_of_a_service_skips_executions_of_other_services(
    api: httpx.Client, executions: Executions, catalog: Catalog, someone: str
) -> None:
    made = create_assigned(executions, someone)
    other = {"$id": f"other-{someone}"[:100], "name": "Other", "provider": catalog.provider}
    ok(api.post("/services", json=other))
    assert claim(api, someone, service=other["$id"]).status_code == 204
    assert ok(claim(api, someone, service=catalog.service))["$id"] == made


def test_execution_is_claimed_once_by_many_workers(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = {create_assigned(executions, someone) for _ in range(40)}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: claim(api, someone, f"w-{n}"), range(60)))
    claimed = [answer.json()["$id"] for answer in answers if answer.status_code == 200]
    assert len(claimed) == len(set(claimed)) == 40
    assert set(claimed) == made
    assert {answer.status_code for answer in answers} == {200, 204}


def test_repeated_claim_with_a_key_gets_the_same_execution(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = [create_assigned(executions, someone) for _ in range(2)]
    key = {"Idempotency-Key": someone[-60:]}
    body = {"worker": "w-1", "assignee": someone}
    first = api.post("/executions/claim", json=body, headers=key)
    again = api.post("/executions/claim", json=body, headers=key)
    assert ok(first)["$id"] == ok(again)["$id"] == made[0]
    assert again.headers["idempotency-replayed"] == "true"


def test_dry_run_of_a_claim_records_nothing(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone)
    body = {"worker": "w-1", "assignee": someone}
    shown = ok(api.post("/executions/claim", params={"dryRun": "true"}, json=body))
    assert shown["events"][0]["type"] == "execution.claimed"
    assert ok(api.get(f"/executions/{made}"))["status"] == "queued"


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"worker": "two words"}, "worker"),
        ({"worker": None}, "worker"),
        ({"lease": 999}, "lease"),
        ({"lease": 3_600_001}, "lease"),
        ({"wait": 61}, "wait"),
        ({"assignee": ""}, "assignee"),
    ],
)
def test_refusal_of_an_invalid_claim_names_the_field(
    api: httpx.Client, wrong: Any, path: str
) -> None:
    body = {"worker": "w-1", **wrong}
    body = {name: value for name, value in body.items() if value is not None}
    problem = refused(api.post("/executions/claim", json=body), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == [path]


@pytest.mark.parametrize("header", ["If-Match", "X-Worker", "X-Correlation-Id"])
def test_malformed_header_of_a_claim_is_refused_even_if_the_queue_is_empty(
    api: httpx.Client, header: str
) -> None:
    body = {"worker": "w-1", "assignee": "nobody-in-the-log"}
    answer = api.post("/executions/claim", json=body, headers={header: "no such form"})
    assert [error["path"] for error in refused(answer, 422, "invalid")["errors"]] == [header]


def test_heartbeat_records_no_event_and_extends_the_lease(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone)
    before = ok(claim(api, someone))
    after = executions.tell(made, "heartbeat", worker="w-1")
    assert after["version"] == before["version"]
    assert after["lastHeartbeatAt"] > before["metadata"]["updatedAt"]
    assert after["claimedBy"]["leaseUntil"] > before["claimedBy"]["leaseUntil"]
    minimal = {"Prefer": "return=minimal"}
    again = ok(api.post(f"/executions/{made}/heartbeat", json={}, headers=minimal))
    assert again["claimedBy"]["leaseUntil"] > after["claimedBy"]["leaseUntil"]
    after = executions.tell(made, "heartbeat", worker="w-1")
    shown = ok(api.get(f"/executions/{made}"))
    assert shown["lastHeartbeatAt"] == after["lastHeartbeatAt"]
    assert shown["claimedBy"] == after["claimedBy"]
    query: dict[str, str | int] = {"claimedBy.worker": "w-1", "minPosition": after["position"]}
    listed = ok(api.get("/executions", params=query))
    found = {item["$id"]: item for item in listed["data"]}
    assert found[made]["lastHeartbeatAt"] == after["lastHeartbeatAt"]


def test_list_of_the_past_shows_no_later_heartbeat(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone)
    claimed = ok(claim(api, someone))
    sleep(0.002)
    executions.tell(made, "heartbeat", worker="w-1")
    then = {"$id": made, "at": claimed["metadata"]["updatedAt"]}
    (shown,) = ok(api.get("/executions", params=then))["data"]
    assert "lastHeartbeatAt" not in shown
    assert shown["claimedBy"] == claimed["claimedBy"]


def test_etag_changes_with_a_heartbeat(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone)
    ok(claim(api, someone))
    tags = {api.get(f"/executions/{made}").headers["etag"]}
    for _ in range(2):
        executions.tell(made, "heartbeat")
        tags.add(api.get(f"/executions/{made}").headers["etag"])
    assert len(tags) == 3


def test_claimed_execution_may_be_sent_back_as_it_was_read(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone, heartbeatTimeout=60_000)
    ok(claim(api, someone))
    executions.tell(made, "heartbeat")
    read = ok(api.get(f"/executions/{made}"))
    executions.tell(made, "heartbeat")
    written = ok(api.put(f"/executions/{made}", json={**read, "tags": ["new"]}))
    assert written["tags"] == ["new"]
    stolen = {**ok(api.get(f"/executions/{made}")), "claimedBy": {"worker": "w-9"}}
    problem = refused(api.put(f"/executions/{made}", json=stolen), 422, "read-only")
    assert [error["path"] for error in problem["errors"]] == ["claimedBy"]


def test_metrics_count_claims_and_waiting_workers(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    create_assigned(executions, someone)
    position = ok(claim(api, someone))["position"]
    ok(api.get("/executions", params={"minPosition": position}))
    figures = dict(
        line.split(" ") for line in api.get("/metrics").text.splitlines() if line[:1] != "#"
    )
    assert float(figures["executions_claims"]) >= 1
    assert float(figures["executions_leases_lost"]) >= 0
    assert float(figures["executions_queued_seconds"]) >= 0
    assert float(figures["executions_claimers_waiting"]) == 0


def test_heartbeat_of_an_execution_that_does_not_run_is_refused(
    api: httpx.Client, queued_execution: str, completed_execution: str
) -> None:
    for execution in (queued_execution, completed_execution):
        answer = api.post(f"/executions/{execution}/heartbeat", json={})
        refused(answer, 409, "illegal-transition")


def test_command_of_another_worker_is_refused_with_the_name_of_the_holder(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone)
    ok(claim(api, someone, "w-2"))
    for path, body in (("progress", {"progress": 5}), ("heartbeat", {"worker": "w-1"})):
        answer = api.post(f"/executions/{made}/{path}", json=body, headers={"X-Worker": "w-1"})
        problem = refused(answer, 409, "lease-lost")
        assert (problem["worker"], problem["claimedBy"]) == ("w-1", "w-2")
    answer = api.post(
        f"/executions/{made}/progress", json={"progress": 5}, headers={"X-Worker": "w-2"}
    )
    ok(answer)
    executions.tell(made, "progress", progress=6)  # a command without a worker is not compared


def test_lost_lease_queues_the_execution_for_the_next_worker(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone)
    ok(claim(api, someone, "w-1", lease=1_000))
    again = ok(claim(api, someone, "w-2", wait=30))
    assert again["$id"] == made
    assert again["claimedBy"]["worker"] == "w-2"
    assert [(a.get("outcome"), a["worker"]) for a in again["attempts"]] == [
        ("released", "w-1"),
        (None, "w-2"),
    ]
    answer = api.post(f"/executions/{made}/complete", json={}, headers={"X-Worker": "w-1"})
    refused(answer, 422, "invalid")
    result = {"success": True, "output": None, "summary": ""}
    answer = api.post(f"/executions/{made}/complete", json=result, headers={"X-Worker": "w-1"})
    assert refused(answer, 409, "lease-lost")["claimedBy"] == "w-2"


def test_resumed_execution_continues_from_its_last_checkpoint(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone, onLeaseLost="resume")
    ok(claim(api, someone, "w-1", lease=1_000))
    executions.tell(made, "checkpoints", state={"page": 3})
    again = ok(claim(api, someone, "w-2", wait=30))
    assert again["resumedFrom"] == "cp-1"
    assert again["status"] == "running"
    assert again["onLeaseLost"] == "resume"


def test_claimed_execution_that_is_retried_may_be_claimed_again(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = create_assigned(executions, someone, retryPolicy=QUICK)
    ok(claim(api, someone, "w-1"))
    failed = executions.tell(made, "fail", **FAILURE)
    assert failed["status"] == "retry"
    assert "claimedBy" not in failed
    again = ok(claim(api, someone, "w-2", wait=30))
    assert (again["$id"], len(again["attempts"])) == (made, 2)
    executions.tell(made, "complete", success=True, output=None, summary="")


def test_silent_execution_is_stalled_until_a_heartbeat(
    api: httpx.Client, executions: Executions, someone: str
) -> None:
    made = executions.running(heartbeatTimeout=1_000, tags=[someone[-200:]])
    with api.stream(
        "GET", f"/executions/{made}/watch", headers={"Accept": "text/event-stream"}
    ) as stream:
        assert any("event: stalled" in line for line in stream.iter_lines())
    shown = ok(api.get(f"/executions/{made}"))
    assert shown["stalled"] is True
    assert shown["status"] == "running"
    query = {"stalled": "true", "tag": someone[-200:], "minPosition": shown["position"]}
    assert [item["$id"] for item in ok(api.get("/executions", params=query))["data"]] == [made]
    after = executions.tell(made, "heartbeat")
    assert "stalled" not in after
    query["minPosition"] = after["position"]
    assert ok(api.get("/executions", params=query))["data"] == []


@pytest.mark.parametrize("query", ["", "?dryRun=true"])
def test_claim_of_a_service_that_does_not_exist_is_refused(
    api: httpx.Client, catalog: Catalog, query: str
) -> None:
    body = {"worker": "w-1", "service": "no-such-service", "assignee": "of-no-one"}
    answer = api.post(f"/executions/claim{query}", json=body)
    problem = refused(answer, 422, "unknown-reference")
    assert problem["field"] == "service"
    known = api.post(f"/executions/claim{query}", json={**body, "service": catalog.service})
    assert known.status_code == 204
