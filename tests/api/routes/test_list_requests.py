"""Parameters of lists besides the filter: facets, fields, form, and time."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from psycopg import AsyncConnection

from projections.executions.columns import INDEXED
from projections.executions.tables import SCHEMA
from tests.support.api_client import ERROR, JSON, RESULT, Executions, ok, refused
from tests.support.running_server import Serving


@pytest.fixture(scope="module")
def five(api: httpx.Client, executions: Executions) -> list[str]:
    """Five executions, of which one has failed and two run."""
    ids = []
    for number in range(5):
        assignee = {"type": "human", "id": "ann", "name": "Ann"} if number % 2 else None
        metadata = {"number": number, "gen_ai.request.model": f"m-{number % 2}"}
        made = executions.create(tags=["five", "a,b"], assignee=assignee, metadata=metadata)
        ids.append(str(made["$id"]))
    for execution in ids[2:]:
        executions.tell(execution, "start")
    last = executions.tell(ids[-1], "fail", **{**ERROR, "recoverable": False})
    ok(api.get("/executions", params={"minPosition": last["position"], "limit": 1}))
    return ids


def ids(page: JSON) -> list[str]:
    return [item["$id"] for item in page["data"]]


def test_facets_are_answered_with_the_page(api: httpx.Client, five: list[str]) -> None:
    names = "status,service,assignee.type,error.code"
    page = ok(api.get(f"/executions?tag=five&limit=1&facets={names}"))
    assert len(page["data"]) == 1
    assert page["facets"]["status"] == {
        "values": [
            {"value": "queued", "count": 2},
            {"value": "running", "count": 2},
            {"value": "failed", "count": 1},
        ]
    }
    assert page["facets"]["service"]["values"] == [{"value": "sdr-service", "count": 5}]
    assert page["facets"]["assignee.type"]["values"] == [
        {"value": None, "count": 3},
        {"value": "human", "count": 2},
    ]
    assert page["facets"]["error.code"]["values"][1] == {"value": "SMTP", "count": 1}
    body = {"filter": {"tags": "five"}, "facets": names.split(","), "limit": 1}
    assert ok(api.post("/executions/find", json=body))["facets"] == page["facets"]


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ("status", {"status": "failed"}),
        ("$id,error.code", {"$id": "", "error": {"code": "SMTP"}}),
        ("error.message", {"error": {"message": ERROR["message"]}}),
        ("metadata.gen_ai.request.model", {"metadata": {"gen_ai.request.model": "m-0"}}),
        ('metadata["gen_ai.request.model"]', {"metadata": {"gen_ai.request.model": "m-0"}}),
        ("metadata.nothing,tags", {"tags": ["five", "a,b"], "metadata": {}}),
        (
            "attempts.number,attempts.error.code",
            {"attempts": [{"number": 1, "error": {"code": "SMTP"}}]},
        ),
        ("result.output", {}),
    ],
)
def test_fields_select_members_of_reads_and_lists(
    api: httpx.Client, five: list[str], fields: str, shown: JSON
) -> None:
    expected = shown | ({"$id": five[-1]} if "$id" in shown else {})
    assert ok(api.get(f"/executions/{five[-1]}", params={"fields": fields})) == expected
    query = {"tag": "five", "status": "failed", "fields": fields}
    assert ok(api.get("/executions", params=query))["data"] == [expected]
    body = {"filter": {"tags": "five", "status": "failed"}, "fields": [fields]}
    if "," not in fields:
        assert ok(api.post("/executions/find", json=body))["data"] == [expected]


def test_fields_are_in_the_order_of_the_document(api: httpx.Client, five: list[str]) -> None:
    shown = ok(api.get(f"/executions/{five[0]}?fields=version,status,$id"))
    assert list(shown) == ["$id", "status", "version"]


@pytest.mark.parametrize("fields", ["nonsense", "metrics.durration", "status.x", "a..b"])
def test_unknown_member_in_fields_is_refused(
    api: httpx.Client, five: list[str], fields: str
) -> None:
    for path in ("/executions", f"/executions/{five[0]}"):
        problem = refused(api.get(f"{path}?fields={fields}"), 422, "invalid")
        assert problem["errors"][0]["path"] == "fields"


def test_fields_are_refused_for_linked_data(api: httpx.Client, five: list[str]) -> None:
    headers = {"Accept": "application/ld+json"}
    refused(api.get(f"/executions/{five[0]}?fields=status", headers=headers), 422, "invalid")


def test_bare_list_is_paged_by_its_headers(api: httpx.Client, five: list[str]) -> None:
    found: list[str] = []
    url = "/executions?tag=five&limit=2&profile=array&count=true"
    while url:
        response = api.get(url)
        found += [item["$id"] for item in response.json()]
        assert response.headers["total-count"] == "5"
        link = response.headers.get("link")
        assert (link is None) == ("next-cursor" not in response.headers)
        url = (
            urlsplit(link[1:].partition(">")[0])._replace(path="/executions").geturl()
            if link
            else ""
        )
    assert found == five[::-1]
    body = {"filter": {"tags": "five"}, "profile": "array", "limit": 4}
    response = api.post("/executions/find", json=body)
    assert len(response.json()) == 4
    body["cursor"] = response.headers["next-cursor"]
    assert [item["$id"] for item in api.post("/executions/find", json=body).json()] == five[:1]


def test_paging_parameters_are_accepted_in_the_query_or_beside_the_filter(
    api: httpx.Client, five: list[str]
) -> None:
    asked = {"tags": "five"}
    beside = {"filter": asked, "sort": "metadata.createdAt,$id", "limit": 2, "count": True}
    page = ok(api.post("/executions/find", json=beside))
    assert (ids(page), page["total"]) == (five[:2], 5)
    query = "sort=metadata.createdAt,$id&limit=2&count=true"
    assert ok(api.post(f"/executions/find?{query}", json=asked)) == page
    second = ok(api.post("/executions/find", json={**beside, "cursor": page["nextCursor"]}))
    assert ids(second) == five[2:4]
    assert len(ok(api.post("/executions/find", json={"limit": 3}))["data"]) == 3


SAID = [
    ("limit=x", "`limit` must be a whole number from 1 to 500, but is `x`."),
    ("count=yes", "`count` must be true or false, but is `yes`."),
    ("profile=table", "`profile` must be array, but is `table`."),
    (
        "facets=progress",
        "`facets` must be fields of text, of true or false, or tags, but is `progress`.",
    ),
    ("facets=status,status", "`facets` must name each field once, but `status` comes twice."),
    ("status=runing", "retry, but is `runing`."),
    (f"limit={'9' * 200}", "`limit` must be a whole number from 1 to 500."),
]


@pytest.mark.parametrize(("query", "said"), SAID)
def test_refusal_of_a_list_quotes_a_short_value(api: httpx.Client, query: str, said: str) -> None:
    assert refused(api.get(f"/executions?{query}"), 422, "invalid")["detail"].endswith(said)


MISTAKES: list[tuple[str, Any, str]] = [
    ("", {"filter": {"status": "flying"}}, "filter.status"),
    ("", {"filter": [], "limit": 1}, "filter"),
    ("", {"status": "running", "limit": 1}, "limit"),
    ("", {"filter": {}, "status": "running"}, "status"),
    ("limit=1", {"filter": {}, "limit": 1}, "limit"),
    ("", {"filter": {}, "limit": "1"}, "limit"),
    ("", {"filter": {}, "limit": True}, "limit"),
    ("", {"filter": {}, "limit": 501}, "limit"),
    ("", {"filter": {}, "count": 1}, "count"),
    ("", {"filter": {}, "sort": ["status"]}, "sort"),
    ("", {"filter": {}, "fields": [1]}, "fields"),
    ("", {"filter": {}, "facets": "progress"}, "facets"),
    ("", {"filter": {}, "expand": ["nobody"]}, "expand"),
    ("", {"filter": {}, "at": "yesterday"}, "at"),
    ("profile=table", {}, "profile"),
    ("profile=array&facets=status", {}, "facets"),
    ("at=2026-01-01T00:00:00Z&facets=status", {}, "facets"),
]


@pytest.mark.parametrize(("query", "body", "path"), MISTAKES)
def test_invalid_list_request_names_its_parameter(
    api: httpx.Client, query: str, body: JSON, path: str
) -> None:
    problem = refused(api.post(f"/executions/find?{query}", json=body), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == [path]


def test_list_at_a_time_shows_executions_as_they_were_then(
    api: httpx.Client, executions: Executions
) -> None:
    one, other = (executions.running(tags=["past"]) for _ in range(2))
    time.sleep(0.01)
    then = ok(api.get(f"/executions/{one}"))
    at = executions.tell(other, "progress", progress=40)["metadata"]["updatedAt"]
    time.sleep(0.01)
    executions.tell(one, "complete", **RESULT)
    executions.running(tags=["past"])
    past = ok(api.get("/executions", params={"tag": "past", "at": at, "count": True}))
    assert (ids(past), past["total"]) == ([other, one], 2)
    for shown in past["data"]:
        whole = ok(
            api.get(f"/executions/{shown['$id']}", params={"at": at, "fields": ",".join(shown)})
        )
        assert shown == whole
    assert past["data"][1]["status"] == then["status"] == "running"
    query = {"tag": "past", "at": at, "status": "completed"}
    assert ok(api.get("/executions", params=query))["data"] == []


def test_tag_with_a_comma_can_be_filtered_by(api: httpx.Client, five: list[str]) -> None:
    for query in ("tag[eq]=a,b", "tag=a,b&tag=nobody"):
        assert len(ok(api.get(f"/executions?{query}"))["data"]) == 5
    assert ok(api.get("/executions?tag=a,b"))["data"] == []


def test_sort_by_a_free_attribute_is_refused_with_its_name(api: httpx.Client) -> None:
    response = api.get("/executions", params={"sort": '-metadata["a,b"]'})
    problem = refused(response, 422, "invalid")
    assert '`metadata["a,b"]`' in problem["errors"][0]["message"]


async def _slow(connection: AsyncConnection, *_: Any, **__: Any) -> None:
    await connection.execute("SELECT pg_sleep(3)")


def test_query_over_its_time_is_too_expensive_and_names_the_indexed_fields(
    server: Serving, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.system.executions, "find", _slow)
    monkeypatch.setattr(server.system.analytics_queries, "answer", _slow)
    for path in ("/executions?progress[gte]=3", "/analytics/executions"):
        problem = refused(api.get(path), 422, "too-expensive")
        assert {"service", "customer", "provider"} <= set(problem["indexedFields"])
    path = "/analytics/executions?service=research&from=2026-01-01T00:00:00Z"
    problem = refused(api.get(path), 422, "too-expensive")
    assert problem["indexedFields"] == ["order", "customer", "provider", "to"]
    monkeypatch.undo()
    ok(api.get("/executions?limit=1"))


async def test_slow_searches_do_not_delay_reads(server: Serving) -> None:
    async with httpx.AsyncClient(
        base_url=f"{server.url}/api", headers=server.client().headers, timeout=30
    ) as client:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server.system.executions, "find", _slow)
            searches = [asyncio.create_task(client.get("/executions")) for _ in range(30)]
            await asyncio.sleep(0.1)
            reads = await asyncio.gather(*(client.get("/orders/order-123") for _ in range(30)))
            answers = await asyncio.gather(*searches)
    assert {read.status_code for read in reads} <= {200, 404}
    assert {answer.status_code for answer in answers} <= {422, 503}


def test_fields_named_as_indexed_have_an_index() -> None:
    columns = {"$id": "id", "order": "order_id", "metadata.createdAt": "created_at"}
    for name in INDEXED:
        column = "metadata" if "<" in name else columns.get(name, name)
        assert f"({column}" in SCHEMA, name


def test_analytics_are_also_found_below_executions(api: httpx.Client) -> None:
    query = "by=status&minPosition=1"
    one, other = (
        ok(api.get(f"{path}?{query}"))
        for path in ("/executions/analytics", "/analytics/executions")
    )
    assert one == other
