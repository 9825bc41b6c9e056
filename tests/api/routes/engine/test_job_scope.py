"""Jobs are visible to their maker, change only executions in its scope, and need the right of their command."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from api.access.rights import Role
from tests.support.api_client import JSON, ok, refused
from tests.support.owned_world import OF_CUSTOMER, OF_PROVIDER, SAMPLES, client_of
from tests.support.running_server import Serving

BULK = "/executions/bulk"
LIMITED = (Role.CUSTOMER, Role.PROVIDER, Role.ASSIGNEE, Role.AUDITOR, Role.OPERATOR)
Clients = dict[Role, httpx.Client]


@pytest.fixture(scope="module")
def clients(owned: Serving) -> Iterator[Clients]:
    made = {role: client_of(owned, role) for role in Role}
    position = str(made[Role.ADMIN].get("/readyz").json()["position"])
    ok(made[Role.ADMIN].get("/executions", params={"minPosition": position}))
    yield made
    for client in made.values():
        client.close()


def bulk(command: str, **more: object) -> JSON:
    return {"command": command, "filter": {}, "preview": True, **more}


def test_preview_counts_only_executions_in_the_callers_scope(clients: Clients) -> None:
    for role, count in ((Role.CUSTOMER, 1), (Role.PROVIDER, 1), (Role.ADMIN, len(SAMPLES))):
        shown = ok(clients[role].post(BULK, json=bulk("cancel")))
        assert (shown["matching"], sum(shown["byStatus"].values())) == (count, count)
    strange = bulk("cancel", filter={"customer": OF_PROVIDER.customer})
    assert ok(clients[Role.CUSTOMER].post(BULK, json=strange))["matching"] == 0


@pytest.mark.parametrize(
    ("command", "roles"),
    [
        ("cancel", {Role.ADMIN, Role.CUSTOMER, Role.PROVIDER}),
        ("retry", {Role.ADMIN, Role.PROVIDER}),
        ("pause", {Role.ADMIN, Role.PROVIDER}),
    ],
)
def test_job_needs_the_right_of_its_command(
    clients: Clients, command: str, roles: set[Role]
) -> None:
    for role in Role:
        answer = clients[role].post(BULK, json=bulk(command))
        assert answer.is_success if role in roles else answer.status_code == 403, role


def test_job_is_visible_only_to_its_maker_and_the_administrator(clients: Clients) -> None:
    maker = clients[Role.PROVIDER]
    job = ok(maker.post(BULK, json=bulk("pause", preview=False)))
    assert (job["matching"], job["createdBy"]) == (1, "provider:works")
    path, fresh = f"/jobs/{job['$id']}", {"minPosition": str(job["position"])}
    for role in LIMITED:
        if role in (Role.PROVIDER, Role.OPERATOR):
            continue
        for below in (path, "/jobs/job_none"):
            for accept in ("application/json", "text/event-stream"):
                answer = clients[role].get(below, headers={"Accept": accept})
                assert refused(answer, 404, "not-found")["detail"] == NOTHING
        assert ok(clients[role].get("/jobs", params=fresh))["data"] == []
    for below in (path, "/jobs/job_none"):
        answer = clients[Role.CUSTOMER].post(f"{below}/cancel", json={})
        assert refused(answer, 404, "not-found")["detail"] == NOTHING
    for role in (Role.PROVIDER, Role.ADMIN):
        assert ok(clients[role].get(path))["$id"] == job["$id"]
        listed = ok(clients[role].get("/jobs", params=fresh))["data"]
        assert [each["$id"] for each in listed] == [job["$id"]]
    stream = maker.get(path, headers={"Accept": "text/event-stream"})
    assert '"status":"completed"' in stream.text
    assert ok(maker.get(path))["done"] == 1
    statuses = {
        sample: ok(clients[Role.ADMIN].get(f"/executions/{sample.execution}"))["status"]
        for sample in SAMPLES
    }
    assert {s for s, status in statuses.items() if status == "paused"} == {OF_PROVIDER}
    assert statuses[OF_CUSTOMER] == "running"


NOTHING = "There is no such job."
