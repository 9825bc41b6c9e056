"""Jobs over HTTP: the preview, the job, its stream and its end."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from api.web.streams import watch
from domain.errors import Overloaded
from tests.support.api_client import Executions, ok, refused
from tests.support.running_server import Serving
from tests.support.sse_client import frames, opened
from tests.support.waiting import wait_until
from workers.jobs import JobWorker

BULK = "/executions/bulk"


@pytest.fixture
def tagged(api: httpx.Client, executions: Executions) -> dict[str, Any]:
    """A filter that matches three running, one queued and one completed execution."""
    tag = f"tag-{executions.create()['$id']}"
    made = [executions.running(tags=[tag]) for _ in range(4)]
    executions.create(tags=[tag])
    executions.tell(made[0], "complete", success=True, output=None, summary="done")
    position = ok(api.get(f"/executions/{made[0]}"))["position"]
    ok(api.get("/executions", params={"limit": 1, "minPosition": position}))
    return {"tags": tag}


def test_preview_counts_the_effects_of_the_command_and_records_nothing(
    api: httpx.Client, tagged: dict[str, Any]
) -> None:
    before = ok(api.get("/jobs"))["data"]
    answer = api.post(BULK, json={"command": "pause", "filter": tagged, "preview": True})
    assert answer.status_code == 200
    shown = ok(answer)
    assert shown == {
        "command": "pause",
        "matching": 5,
        "wouldChange": 3,
        "unchanged": 0,
        "wouldBeRefused": 2,
        "byStatus": {"running": 3, "completed": 1, "queued": 1},
    }
    assert int(answer.headers["log-position"]) > 0
    assert ok(api.get("/jobs"))["data"] == before


@pytest.fixture
def idle_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the worker, so that no job ends before it is cancelled."""

    async def wait(worker: JobWorker, job: str) -> bool:
        return False

    monkeypatch.setattr(JobWorker, "_advance", wait)


@pytest.mark.usefixtures("idle_worker")
def test_job_is_answered_at_once_and_found_at_its_location(
    api: httpx.Client, tagged: dict[str, Any]
) -> None:
    body = {"command": "cancel", "filter": tagged, "reason": "not needed"}
    answer = api.post(BULK, json=body, headers={"Idempotency-Key": tagged["tags"]})
    assert answer.status_code == 202
    job = ok(answer)
    assert answer.headers["location"] == f"/api/jobs/{job['$id']}"
    assert (job["status"], job["matching"], job["reason"]) == ("running", 5, "not needed")
    again = api.post(BULK, json=body, headers={"Idempotency-Key": tagged["tags"]})
    assert again.headers["idempotency-replayed"] == "true"
    assert ok(again)["$id"] == job["$id"]
    assert ok(api.get(f"/jobs/{job['$id']}"))["$id"] == job["$id"]
    listed = ok(api.get("/jobs", params={"minPosition": job["position"], "status": "running"}))
    assert job["$id"] in [each["$id"] for each in listed["data"]]
    assert ok(api.post(f"/jobs/{job['$id']}/cancel"))["status"] == "cancelled"


def test_if_match_is_refused_for_a_new_job(api: httpx.Client) -> None:
    body = {"command": "cancel", "filter": {"tags": "none"}}
    refused(api.post(BULK, json=body, headers={"If-Match": '"7"'}), 412, "version-mismatch")


def test_idempotency_key_of_a_job_is_in_the_openapi_document(api: httpx.Client) -> None:
    row = ok(api.get("/openapi.json"))["paths"][BULK]["post"]
    assert "Idempotency-Key" in [parameter["name"] for parameter in row["parameters"]]


def test_stream_of_a_job_ends_with_the_job(api: httpx.Client, tagged: dict[str, Any]) -> None:
    job = ok(api.post(BULK, json={"command": "cancel", "filter": tagged}))
    ok(api.post(f"/jobs/{job['$id']}/cancel"))
    with connect_sse(api, "GET", f"/jobs/{job['$id']}") as source:
        frames = [event.json() for event in source.iter_sse() if event.event == "job"]
    assert [frame["status"] for frame in frames] == ["cancelled"]


@pytest.mark.usefixtures("idle_worker")
def test_stream_of_a_job_continues_once_the_database_is_available_again(
    api: httpx.Client, server: Serving, tagged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL", 0.02)
    path = f"/jobs/{ok(api.post(BULK, json={'command': 'cancel', 'filter': tagged}))['$id']}"
    store, missed = server.system.store, list[str]()

    async def lose(stream: str) -> None:
        missed.append(stream)
        raise Overloaded

    with opened(api, path) as source:
        stream = frames(source)
        assert next(stream).data["status"] == "running"
        with monkeypatch.context() as away:
            away.setattr(store, "load", lose)
            wait_until(lambda: path[1:].replace("jobs", "job") in missed)
        ok(api.post(f"{path}/cancel"))
        assert [each.data["status"] for each in stream if each.type == "job"] == ["cancelled"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"command": "complete", "filter": {}}, "command"),
        ({"command": "cancel"}, "filter"),
        ({"command": "cancel", "filter": {"colour": "red"}}, "filter.colour"),
        ({"command": "resume", "filter": {}, "reason": "r"}, "reason"),
        ({"command": "cancel", "filter": {}, "limit": 3}, "limit"),
    ],
)
def test_refusal_of_an_invalid_job_names_the_field(api: httpx.Client, body: Any, path: str) -> None:
    problem = refused(api.post(BULK, json=body), 422, "invalid")
    assert path in [error["path"] for error in problem["errors"]]


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_unknown_job_is_not_found(api: httpx.Client, accept: str) -> None:
    refused(api.get("/jobs/job_unknown", headers={"accept": accept}), 404, "not-found")
    refused(api.post("/jobs/job_unknown/cancel"), 404, "not-found")
