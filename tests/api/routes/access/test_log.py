"""The access log of an execution is shown to its parties, the administrator and auditors with a grant, and recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.access.rights import Role
from domain.access.retirements import STREAM, RetireAccesses
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from tests.support.access_entries import entries
from tests.support.api_client import Catalog, Executions, ok, refused
from tests.support.callers import admit, caller, client
from tests.support.event_writer import opened
from tests.support.running_server import Serving

CUSTOMER, PROVIDER = caller(Role.CUSTOMER, "acme"), caller(Role.PROVIDER, "outreach")
OTHER, WORKER = caller(Role.CUSTOMER, "other"), caller(Role.ASSIGNEE, "ann")
ASSIGNEE = {"type": "human", "id": "ann", "name": "Ann"}
JSON = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def callers(server: Serving) -> None:
    admit(server, CUSTOMER, PROVIDER, OTHER, WORKER)


@pytest.fixture
def customer(server: Serving, catalog: Catalog) -> Iterator[httpx.Client]:
    with client(server, CUSTOMER, **{"X-Purpose": "Invoice 7"}) as opened:
        yield opened


def log_of(reader: httpx.Client, execution: object, **asked: Any) -> list[JSON]:
    found: list[JSON] = ok(reader.get(f"/executions/{execution}/access-log", params=asked))["data"]
    return found


def list_executions(reader: httpx.Client, *documents: JSON) -> None:
    """List executions as a reader, once the list has them."""
    asked = {"$id": {"$in": [each["$id"] for each in documents]}}
    fresh = {"minPosition": max(each["position"] for each in documents)}
    answer = ok(reader.post("/executions/find", json=asked, params=fresh))
    assert len(answer["data"]) == len(documents)


def test_access_log_shows_caller_time_and_purpose_of_each_read(
    api: httpx.Client, customer: httpx.Client, executions: Executions
) -> None:
    created = executions.create()
    execution = created["$id"]
    ok(customer.get(f"/executions/{execution}"))
    ok(api.get(f"/executions/{execution}/status?version=1"))
    list_executions(api, created)
    one, two, three = log_of(api, execution)
    assert (one["actor"], one["operation"], one["purpose"]) == (
        CUSTOMER.name,
        "readExecution",
        "Invoice 7",
    )
    assert (one["address"], one["executions"]) == ("127.0.0.1", [execution])
    assert one["id"] < two["id"] < three["id"]
    assert two["asked"] == {"query": [["version", "1"]]}
    assert three["operation"] == "findExecutions"


def test_reading_the_access_log_is_recorded(api: httpx.Client, executions: Executions) -> None:
    execution = executions.create()["$id"]
    assert log_of(api, execution) == []
    (own,) = log_of(api, execution)
    assert own["operation"] == "readAccessLog"


def test_party_sees_no_ids_of_other_executions_and_no_filters_of_others(
    api: httpx.Client, customer: httpx.Client, server: Serving, executions: Executions
) -> None:
    created, another = executions.create(), executions.create()
    execution, other = created["$id"], another["$id"]
    list_executions(api, created, another)
    list_executions(customer, created)
    admins, own = log_of(customer, execution)
    assert (admins["executions"], "asked" in admins, "credential" in admins) == (
        [execution],
        False,
        False,
    )
    assert "body" in own["asked"]
    assert sorted(log_of(api, execution)[0]["executions"]) == sorted([execution, other])
    with client(server, PROVIDER) as provider:
        assert [each["actor"] for each in log_of(provider, execution)][:2] == [
            "admin",
            CUSTOMER.name,
        ]


def test_access_log_is_shown_only_to_parties(server: Serving, executions: Executions) -> None:
    execution = executions.create(assignee=ASSIGNEE)["$id"]
    for path in (f"/executions/{execution}/access-log", f"/audit/trail?execution={execution}"):
        with client(server, OTHER) as other:
            refused(other.get(path), 404, "not-found")
        with client(server, WORKER) as worker:
            ok(worker.get(f"/executions/{execution}"))
            refused(worker.get(path), 403, "forbidden")


def test_access_log_of_an_unknown_execution_is_not_found(api: httpx.Client) -> None:
    refused(api.get("/executions/none/access-log"), 404, "not-found")
    refused(api.get("/audit/trail?execution=none"), 404, "not-found")


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_of_the_access_log_show_each_entry_once(
    api: httpx.Client, executions: Executions, order: str
) -> None:
    created = executions.create()
    execution = created["$id"]
    for _ in range(3):
        ok(api.get(f"/executions/{execution}/status"))
        list_executions(api, created)
    ok(api.get(f"/executions/{execution}/progress"))
    whole = [each["id"] for each in log_of(api, execution, order=order)]
    assert whole == sorted(whole, reverse=order == "desc")
    seen: list[int] = []
    cursor: JSON = {}
    until = max(whole)
    while True:
        asked = {"order": order, "limit": 2, **cursor}
        page = ok(api.get(f"/executions/{execution}/access-log", params=asked))
        seen += [each["id"] for each in page["data"] if each["id"] <= until]
        if not page["hasMore"] or len(seen) >= len(whole):
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == whole


def test_access_log_is_filtered_by_actor_and_time(
    api: httpx.Client, customer: httpx.Client, executions: Executions
) -> None:
    execution = executions.create()["$id"]
    ok(api.get(f"/executions/{execution}"))
    ok(customer.get(f"/executions/{execution}"))
    first, second = log_of(api, execution)
    assert [each["id"] for each in log_of(api, execution, actor=CUSTOMER.name)] == [second["id"]]
    assert log_of(api, execution, to=first["time"], limit=1) == []
    assert log_of(api, execution, **{"from": "2099-01-01T00:00:00Z"}) == []


def test_trail_has_status_changes_and_reads_in_order_of_time(
    api: httpx.Client, customer: httpx.Client, executions: Executions
) -> None:
    execution = executions.create()["$id"]
    ok(customer.get(f"/executions/{execution}"))
    executions.tell(execution, "start")
    executions.tell(execution, "progress", progress=5)
    ok(customer.get(f"/executions/{execution}/progress"))
    executions.tell(execution, "fail", code="X", message="secret words")
    answer = ok(api.get("/audit/trail", params={"execution": execution}))
    assert [each["action"] for each in answer["data"]] == [
        "execution.created",
        "readExecution",
        "execution.starting",
        "execution.started",
        "readProgress",
        "execution.failed",
    ]
    assert "secret words" not in str(answer)
    times = [each["time"] for each in answer["data"]]
    assert times == sorted(times)
    assert answer["data"][0]["actor"] == "admin"


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_of_the_trail_show_each_item_once(
    api: httpx.Client, executions: Executions, order: str, limit: int
) -> None:
    execution = executions.create()["$id"]
    for command in ("start", "pause", "resume"):
        executions.tell(execution, command)
        ok(api.get(f"/executions/{execution}"))
    asked: JSON = {"execution": execution, "order": order, "to": "2099-01-01T00:00:00Z"}
    whole = ok(api.get("/audit/trail", params=asked))["data"]
    last = whole[-1 if order == "asc" else 0]["time"]
    seen: list[JSON] = []
    page: JSON = {"nextCursor": None}
    while len(seen) < len(whole):
        cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else {}
        page = ok(api.get("/audit/trail", params={**asked, "limit": limit, **cursor}))
        seen += [item for item in page["data"] if item["action"] != "readTrail"]
        assert page["data"]
    assert seen == whole
    assert last


def test_trail_is_filtered_by_action_and_actor(
    api: httpx.Client, customer: httpx.Client, executions: Executions
) -> None:
    execution = executions.running()
    ok(customer.get(f"/executions/{execution}"))
    ok(customer.get(f"/executions/{execution}/status"))

    def actions(**asked: str) -> list[str]:
        found = ok(api.get("/audit/trail", params={"execution": execution, **asked}))["data"]
        return [each["action"] for each in found if each["action"] != "readTrail"]

    assert actions(action="execution.started,readStatus") == ["execution.started", "readStatus"]
    assert actions(action="readStatus") == ["readStatus"]
    assert actions(action="execution.created") == ["execution.created"]
    assert actions(actor=CUSTOMER.name) == ["readExecution", "readStatus"]
    assert actions(actor="admin", action="execution.started") == ["execution.started"]


def test_trail_of_all_executions_is_shown_only_to_callers_that_see_all(
    api: httpx.Client, customer: httpx.Client, server: Serving, executions: Executions
) -> None:
    execution = executions.create()["$id"]
    ok(customer.get(f"/executions/{execution}"))
    refused(customer.get("/audit/trail"), 422, "invalid")
    correlation = uuid4().hex
    headers = {"X-Correlation-Id": correlation}
    found = ok(api.get("/audit/trail?order=desc&limit=2", headers=headers))["data"]
    assert [each["action"] for each in found] == ["readExecution", "execution.created"]
    (own,) = entries(server.conninfo, correlation)
    assert own.executions == (execution,)


@pytest.mark.parametrize("query", ["cursor=x", "cursor=1", "from=yesterday", "order=up", "limit=0"])
def test_trail_refuses_invalid_parameters(api: httpx.Client, query: str) -> None:
    refused(api.get(f"/audit/trail?{query}"), 422, "invalid")


async def retire(conninfo: str, command: RetireAccesses) -> None:
    async with opened(conninfo) as store:
        writer = GuardedWriter(store, lambda: datetime.now(UTC), str, lambda: 0.5)
        await writer.send(Message(STREAM, command, "system"))


def test_pages_have_the_time_since_which_all_reads_are_kept(
    server: Serving, api: httpx.Client, executions: Executions
) -> None:
    execution = executions.create()["$id"]
    paths = (f"/executions/{execution}/access-log", f"/audit/trail?execution={execution}")
    assert all("accessesFrom" not in ok(api.get(path)) for path in paths)
    command = RetireAccesses(day=date(2016, 11, 30), first=1, last=3, before="", hash="00")
    asyncio.run(retire(server.conninfo, command))
    for path in paths:
        assert ok(api.get(path))["accessesFrom"] == "2016-12-01T00:00:00.000Z"
