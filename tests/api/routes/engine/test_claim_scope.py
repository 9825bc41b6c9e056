"""Workers claim only executions they may work on, and the inbox shows only executions in the caller's scope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.access.identity import Caller
from api.access.rights import Role
from api.access.scope import Scope
from api.access.scope import reach_of_owner as reach
from tests.support.api_client import JSON, ok, refused
from tests.support.owned_world import (
    CALLERS,
    OF_ASSIGNEE,
    OF_PROVIDER,
    REACHED,
    SAMPLES,
    STRANGE,
    Sample,
    client_of,
    replace_caller,
)
from tests.support.running_server import Serving

CLAIM = "/executions/claim"
Clients = dict[Role, httpx.Client]


@pytest.fixture(scope="module")
def clients(owned: Serving) -> Iterator[Clients]:
    made = {role: client_of(owned, role) for role in Role}
    yield made
    for client in made.values():
        client.close()


def create_queued(api: httpx.Client, sample: Sample, name: str, **more: object) -> str:
    body = {"$id": name, "order": sample.order, "service": sample.service, **more}
    return str(ok(api.post("/executions", json=body))["$id"])


def ann(sample: Sample) -> JSON:
    return {"type": "human", "id": sample.person, "name": "Somebody"}


def test_worker_claims_only_executions_that_it_may_work_on(clients: Clients) -> None:
    admin = clients[Role.ADMIN]
    own = create_queued(admin, OF_PROVIDER, "claim-own")
    assigned = create_queued(admin, STRANGE, "claim-assigned", assignee=ann(OF_ASSIGNEE))
    strange = create_queued(admin, STRANGE, "claim-strange", priority="urgent")
    for role, found in ((Role.PROVIDER, own), (Role.ASSIGNEE, assigned)):
        once = {"Idempotency-Key": f"claim-{role}"}
        for query in ("?dryRun=true", ""):
            answer = clients[role].post(f"{CLAIM}{query}", json={"worker": "w"})
            shown = ok(answer)
            assert shown.get("execution", shown)["$id"] == found
        nothing = clients[role].post(CLAIM, json={"worker": "w", "wait": 0.2}, headers=once)
        assert nothing.status_code == 204
        by_service = {"worker": "w", "service": STRANGE.service}
        assert clients[role].post(CLAIM, json=by_service).status_code == 204
    for role in (Role.CUSTOMER, Role.AUDITOR, Role.OPERATOR):
        refused(clients[role].post(CLAIM, json={"worker": "w"}), 403, "forbidden")
    assert ok(admin.post(CLAIM, json={"worker": "w"}))["$id"] == strange


def test_repeated_claim_with_a_key_is_answered_while_the_worker_may_work_on_the_execution(
    clients: Clients, owned: Serving
) -> None:
    create_queued(clients[Role.ADMIN], OF_PROVIDER, "claim-once")
    call: dict[str, Any] = {"json": {"worker": "w"}, "headers": {"Idempotency-Key": "once"}}
    first = clients[Role.PROVIDER].post(CLAIM, **call)
    again = clients[Role.PROVIDER].post(CLAIM, **call)
    assert ok(first)["$id"] == ok(again)["$id"] == "claim-once"
    assert again.headers["idempotency-replayed"] == "true"
    moved = Caller(CALLERS[Role.PROVIDER].name, Scope((reach(Role.PROVIDER, "elsewhere"),)))
    with replace_caller(owned, Role.PROVIDER, moved):
        refused(clients[Role.PROVIDER].post(CLAIM, **call), 404, "not-found")


def test_inbox_shows_only_executions_in_the_callers_scope(clients: Clients) -> None:
    position = str(ok(clients[Role.ADMIN].get("/readyz"))["position"])
    for role in (Role.CUSTOMER, Role.PROVIDER, Role.ASSIGNEE, Role.ADMIN):
        page = ok(clients[role].get("/inbox", params={"minPosition": position, "limit": "1"}))
        shown = {page["data"][0]["execution"]}
        while cursor := page.get("nextCursor"):
            page = ok(clients[role].get("/inbox", params={"limit": "1", "cursor": cursor}))
            shown |= {item["execution"] for item in page["data"]}
        samples = {execution for execution in shown if execution.startswith("run-")}
        assert samples == {sample.execution for sample in REACHED[role]}
    strange = {"assignee": STRANGE.person}
    assert ok(clients[Role.CUSTOMER].get("/inbox", params=strange))["data"] == []
    assert len(SAMPLES) == len(REACHED[Role.ADMIN])
