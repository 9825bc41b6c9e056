"""Lists and searches of executions: filters, pages, expansion, and JSON-LD."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import httpx
import pytest

from tests.support.api_client import ERROR, JSON, POLICY, Catalog, Executions, ok, refused

LINKED = {"Accept": "application/ld+json"}


@pytest.fixture(scope="module")
def seven(api: httpx.Client, executions: Executions) -> list[str]:
    """Seven executions: the odd ones run, the last has failed."""
    ids = []
    for number in range(7):
        tags = ["seven", "odd"] if number % 2 else ["seven"]
        more: JSON = {"retryPolicy": POLICY} if number % 2 else {}
        made = executions.create(tags=tags, metadata={"number": number, "region": "north"}, **more)
        ids.append(str(made["$id"]))
        if number % 2 or number == 6:
            executions.tell(ids[-1], "start")
    last = executions.tell(ids[-1], "fail", **ERROR)
    ok(api.get("/executions", params={"minPosition": last["position"], "limit": 1}))
    return ids


def ids(page: JSON) -> list[str]:
    return [item["$id"] for item in page["data"]]


def test_list_has_the_newest_first(api: httpx.Client, seven: list[str]) -> None:
    assert ids(ok(api.get("/executions?tag=seven"))) == seven[::-1]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=queued", [4, 2, 0]),
        ("status=running,failed", [6, 5, 3, 1]),
        ("status=running&status=failed", [6, 5, 3, 1]),
        ("error.code=SMTP", [6]),
        ("error.retryCount=0", [6]),
        ("retryPolicy.maxRetries[gte]=3&retryPolicy.backoff=exponential", [5, 3, 1]),
        ("retryPolicy[exists]=true", None),
        ("status[prefix]=r", [5, 3, 1]),
        ("metadata.number=3", [3]),
        ("metadata.number[$gte]=5", [6, 5]),
        ("metadata.number[lt]=1", [0]),
        ("tags=odd&service=sdr-service", [5, 3, 1]),
        ("status[$ne]=queued&metadata.number[$in]=1,2", [1]),
        ("metadata.createdAt[$gte]=2999-01-01T00:00:00Z", []),
        ("error[$exists]=x", None),
        ("nonsense=1", None),
        ("status=flying", None),
        ("metadata.createdAt[$gte]=yesterday", None),
    ],
)
def test_query_filters_by_any_field(
    api: httpx.Client, seven: list[str], query: str, found: list[int] | None
) -> None:
    response = api.get(f"/executions?tag=seven&{query}")
    if found is None:
        refused(response, 422, "invalid")
    else:
        assert ids(ok(response)) == [seven[number] for number in found]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"status": "failed"}, [6]),
        ({"status": {"$in": ["running", "failed"]}}, [6, 5, 3, 1]),
        ({"$or": [{"metadata.number": 0}, {"error.code": "SMTP"}]}, [6, 0]),
        ({"$not": {"status": "queued"}, "metadata.number": {"$lt": 4}}, [3, 1]),
        ({"error.code": {"$exists": False}, "metadata.number": {"$gte": 4, "$lte": 5}}, [5, 4]),
        ({"metadata.region": {"$prefix": "nor"}, "metadata.number": {"$nin": [1, 2, 3]}}, None),
    ],
)
def test_json_filter_finds_the_same_executions_as_the_query(
    api: httpx.Client, seven: list[str], condition: JSON, found: list[int] | None
) -> None:
    page = ok(api.post("/executions/find", json={"$and": [{"tags": "seven"}, condition]}))
    assert ids(page) == [seven[number] for number in ([6, 5, 4, 0] if found is None else found)]


def test_invalid_filter_is_refused_with_its_path(api: httpx.Client) -> None:
    body = {"$or": [{"status": "queued"}, {"status": {"$in": ["flying"]}}]}
    problem = refused(api.post("/executions/find", json=body), 422, "invalid")
    assert problem["errors"][0]["path"] == "$or[1].status.$in[0]"


def test_pages_follow_each_other_without_gap_or_repeat_while_others_write(
    api: httpx.Client, executions: Executions, seven: list[str]
) -> None:
    done = Event()

    def write() -> None:
        while not done.is_set():
            executions.create(tags=["seven-too"])

    writer = Thread(target=write)
    writer.start()
    try:
        for sort in ("-metadata.createdAt", "status,-$id", "priority"):
            assert sorted(walk(api, sort)) == sorted(seven)
    finally:
        done.set()
        writer.join()


def walk(api: httpx.Client, sort: str) -> list[str]:
    found: list[str] = []
    query: dict[str, Any] = {"tag": "seven", "sort": sort, "limit": 2}
    while True:
        page = ok(api.get("/executions", params=query))
        found += ids(page)
        assert page["hasMore"] == (page["nextCursor"] is not None)
        if not page["hasMore"]:
            return found
        query["cursor"] = page["nextCursor"]


def test_cursor_belongs_to_its_filter_and_sort(api: httpx.Client, seven: list[str]) -> None:
    cursor = ok(api.get("/executions?tag=seven&limit=2"))["nextCursor"]
    for query in ("tag=odd", "tag=seven&sort=priority", "tag=seven&service=another"):
        refused(api.get(f"/executions?{query}&cursor={cursor}"), 422, "invalid")
    refused(api.get("/executions?cursor=nonsense"), 422, "invalid")


def test_total_is_counted_on_demand(api: httpx.Client, seven: list[str]) -> None:
    assert "total" not in ok(api.get("/executions?tag=seven&limit=1"))
    assert ok(api.get("/executions?tag=seven&limit=1&count=true"))["total"] == 7
    found = api.post("/executions/find?count=true&limit=1", json={"tags": "seven"})
    assert ok(found)["total"] == 7
    refused(api.get("/executions?count=perhaps"), 422, "invalid")


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "sort=tags", "sort=nonsense"])
def test_invalid_page_parameters_are_refused(api: httpx.Client, query: str) -> None:
    refused(api.get(f"/executions?{query}"), 422, "invalid")


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("tag=%ff", "tag"),
        ("tag=a&%fe=b", "\ufffd"),
        ("sort=nope", "sort"),
        ("status=%c3%28", "status"),
    ],
)
def test_refusal_names_the_parameter_and_its_allowed_values(
    api: httpx.Client, query: str, path: str
) -> None:
    (error,) = refused(api.get(f"/executions?{query}"), 422, "invalid")["errors"]
    assert error["path"] == path
    assert ("UTF-8" in error["message"]) is (path != "sort")
    assert ("metadata.createdAt" in error["message"]) is (path == "sort")


def test_related_objects_are_ids_unless_expanded(
    api: httpx.Client, catalog: Catalog, seven: list[str]
) -> None:
    relations = "order,service,workflow,customer,provider"
    one = ok(api.get(f"/executions/{seven[0]}?expand={relations}"))
    listed = ok(api.get(f"/executions?tag=seven&expand={relations}"))["data"]
    for shown in (one, *listed):
        assert shown["order"]["$type"] == "ServiceOrder"
        assert shown["service"]["name"] == "Lead outreach"
        assert [step["id"] for step in shown["workflow"]["steps"]] == ["research", "send"]
        assert shown["customer"]["$id"] == catalog.customer
        assert shown["provider"]["$id"] == catalog.provider
    assert ok(api.get(f"/executions/{seven[0]}"))["order"] == catalog.order
    refused(api.get("/executions?expand=nonsense"), 422, "invalid")


def test_list_shows_no_log_lines(api: httpx.Client, seven: list[str]) -> None:
    assert "logs" not in ok(api.get("/executions?tag=seven"))["data"][0]


def test_linked_data_of_an_execution_is_an_action_of_schema_org(
    api: httpx.Client, executions: Executions, seven: list[str]
) -> None:
    response = api.get(f"/executions/{seven[6]}", headers=LINKED)
    shown = ok(response)
    assert response.headers["content-type"] == "application/ld+json"
    assert "accept" in response.headers["vary"].lower()
    assert (shown["@context"][0], shown["@type"]) == ("https://schema.org", "Action")
    assert shown["$context"] == "https://schema.org"
    assert shown["actionStatus"] == "FailedActionStatus"
    assert shown["error"]["name"] == "SMTP"
    assert {"startTime", "endTime"} <= shown.keys()
    queued = ok(api.get(f"/executions/{seven[0]}", headers=LINKED))
    assert queued["actionStatus"] == "PotentialActionStatus"
    assert "$context" not in ok(api.get(f"/executions/{seven[6]}"))


def test_etag_of_linked_data_works_in_if_none_match(
    api: httpx.Client, executions: Executions
) -> None:
    execution = executions.running()
    tag = api.get(f"/executions/{execution}", headers=LINKED).headers["etag"]
    headers = {"If-Match": tag}
    ok(api.post(f"/executions/{execution}/progress", json={"progress": 1}, headers=headers))


def test_other_resources_have_no_linked_data_form(api: httpx.Client, seven: list[str]) -> None:
    assert ok(api.get(f"/executions/{seven[0]}/order", headers=LINKED))["$type"] == "ServiceOrder"


@pytest.mark.parametrize("kind", ["services", "workflows", "orders", "users"])
def test_catalog_is_listed_and_read(api: httpx.Client, catalog: Catalog, kind: str) -> None:
    page = ok(api.get(f"/{kind}", params={"minPosition": 5}))
    assert page["data"]
    for entry in page["data"]:
        assert ok(api.get(f"/{kind}/{entry['$id']}")) == entry
    refused(api.get(f"/{kind}/no-such"), 404, "not-found")
    refused(api.get(f"/{kind}?nonsense=1"), 422, "invalid")


def test_read_of_fields_without_steps_builds_no_step(
    api: httpx.Client, executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An execution may have 10 000 steps, and clients read the other fields often."""

    def make(*_: object) -> object:
        raise AssertionError("a step was made")

    execution = executions.running(steps=[{"id": "a", "name": "A"}])
    monkeypatch.setattr("projections.representations.execution.step_document", make)
    asked = {"fields": "$id,metrics.stepsTotal"}
    shown = ok(api.get(f"/executions/{execution}", params=asked))
    assert shown["metrics"]["stepsTotal"] == 1
