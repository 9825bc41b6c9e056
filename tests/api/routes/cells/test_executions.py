"""One list of two logs, each with its own server, and of a third log, which is unavailable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from api.embedded_postgres.server import EmbeddedPostgres
from tests.support.api_client import RESULT, Catalog, Executions, ok, refused
from tests.support.databases import new_database
from tests.support.running_server import Serving, serving

JSON = dict[str, Any]
BOTH = {"cells": "north,south"}
SOME = 7


@pytest.fixture(scope="module")
def south(
    postgres: EmbeddedPostgres,
    admin: psycopg.Connection,
    views_template: str,
    ports: dict[str, int],
) -> Iterator[httpx.Client]:
    with new_database(admin, template=views_template) as name:
        conninfo = postgres.conninfo(name)
        running = serving(conninfo, ports["south"], log_name="south")
        with running as serves, serves.client() as client:
            yield client


@pytest.fixture(scope="module")
def both(api: httpx.Client, south: httpx.Client, executions: Executions) -> httpx.Client:
    """A client of the log `north`, once both logs have executions and the lists show them."""
    users = [{"$id": name, "name": name, "kind": "organization"} for name in ("acme", "outreach")]
    for path, entry in (
        *(("users", user) for user in users),
        ("services", {"$id": "sdr-service", "name": "Leads", "provider": "outreach"}),
        ("orders", {"$id": "order-123", "service": "sdr-service", "customer": "acme"}),
    ):
        ok(south.post(f"/{path}", json=entry))
    others = Executions(south, Catalog("acme", "outreach", "", "sdr-service", "order-123"))
    for number in range(SOME):
        for there in (executions, others, others):
            there.create(priority=("low", "high")[number % 2], tags=[f"n{number}"])
    executions.create(**{"$id": "same"})
    others.create(**{"$id": "same"})
    for client in (api, south):
        position = ok(client.get("/executions/same"))["position"]
        ok(client.get("/executions", params={"minPosition": position}))
    return api


def pages(api: httpx.Client, **query: str) -> list[JSON]:
    found = [ok(api.get("/cells/executions", params={**BOTH, **query}))]
    while found[-1]["hasMore"]:
        cursor = found[-1]["nextCursor"]
        found.append(ok(api.get("/cells/executions", params={**BOTH, **query, "cursor": cursor})))
    assert found[-1]["nextCursor"] is None
    return found


def every(api: httpx.Client, **query: str) -> list[JSON]:
    return list(ok(api.get("/executions", params={"limit": "500", **query}))["data"])


@pytest.mark.parametrize("sort", ["-metadata.createdAt", "priority,-$id", "-metrics.duration,$id"])
def test_list_of_two_logs_is_exact_page_by_page(
    both: httpx.Client, south: httpx.Client, sort: str
) -> None:
    found = [item for page in pages(both, sort=sort, limit="4") for item in page["data"]]
    here, there = every(both, sort=sort), every(south, sort=sort)
    shown = [(item.pop("cell"), item["$id"]) for item in found]
    for name, items in (("north", here), ("south", there)):
        assert [id_ for cell, id_ in shown if cell == name] == [item["$id"] for item in items]
    assert len(shown) == len(set(shown)) == 3 * SOME + 2
    if sort == "-metadata.createdAt":
        times = [item["metadata"]["createdAt"] for item in found]
        assert times == sorted(times, reverse=True)


def test_filter_total_and_members_apply_to_all_logs(both: httpx.Client) -> None:
    query = {**BOTH, "priority": "high", "count": "true", "fields": "$id,priority"}
    found = ok(both.get("/cells/executions", params=query))
    high = 3 * (SOME // 2)
    assert (found["total"], len(found["data"]), found["hasMore"]) == (high, high, False)
    assert {item["priority"] for item in found["data"]} == {"high"}
    assert set(found["data"][0]) == {"cell", "$id", "priority"}
    assert set(found["cells"]) == {"north", "south"}
    assert found["cells"]["south"]["position"] > 2 * SOME


def test_total_is_that_of_all_logs_on_every_page(both: httpx.Client) -> None:
    found = pages(both, sort="$id", limit="9", count="true")
    assert {page["total"] for page in found} == {3 * SOME + 2}
    assert len(found) == 3


def test_log_that_is_unavailable_is_named(both: httpx.Client) -> None:
    answer = both.get("/cells/executions")
    problem = refused(answer, 503, "cell-away")
    assert (problem["cell"], answer.headers["retry-after"]) == ("west", "1")
    assert "`west`" in problem["detail"]


def test_list_without_an_unavailable_log_names_the_missing_log(both: httpx.Client) -> None:
    found = ok(both.get("/cells/executions", params={"partial": "true", "limit": "500"}))
    assert [missing["cell"] for missing in found["missing"]] == ["west"]
    assert (len(found["data"]), found["hasMore"]) == (3 * SOME + 2, False)
    query = {"partial": "true", "cursor": found["nextCursor"]}  # west may become available
    again = ok(both.get("/cells/executions", params=query))
    assert (again["data"], again["missing"]) == ([], found["missing"])


def test_api_key_is_sent_only_to_the_log_that_made_it(
    both: httpx.Client, south: httpx.Client, server: Serving
) -> None:
    made = ok(both.post("/keys", json={"role": "provider", "party": "outreach"}))
    headers = {"Authorization": f"Bearer {made['key']}", "X-Correlation-Id": "asked-of-cells"}
    asked = f"{server.url}/api/cells/executions"
    alone = ok(httpx.get(asked, params={"cells": "north"}, headers=headers))
    assert len(alone["data"]) == SOME + 1
    for names in ("north,south", "south"):
        problem = refused(
            httpx.get(asked, params={"cells": names}, headers=headers), 422, "invalid"
        )
        assert (problem["errors"][0]["path"], "`north`" in problem["detail"]) == ("cells", True)
    refused(httpx.get(asked, headers=headers), 422, "invalid")
    shown = ok(both.get(f"/executions/{alone['data'][0]['$id']}/access-log"))["data"]
    [read] = [entry for entry in shown if entry.get("correlation") == "asked-of-cells"]
    assert read["credential"] == f"key/{made['$id']}"


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"cells": "north,east"}, "cells"),
        ({"facets": "status"}, "facets"),
        ({"at": "2026-11-01T00:00:00Z"}, "at"),
        ({"cursor": "x"}, "cursor"),
        ({"limit": "0"}, "limit"),
        ({"sort": "colour"}, "sort"),
    ],
)
def test_parameter_that_is_not_possible_for_all_logs_is_refused(
    both: httpx.Client, query: dict[str, str], path: str
) -> None:
    problem = refused(both.get("/cells/executions", params={**BOTH, **query}), 422, "invalid")
    assert problem["errors"][0]["path"] == path


def test_list_has_a_cursor_for_each_row(both: httpx.Client) -> None:
    first = ok(both.get("/executions", params={"limit": "5", "cursors": "true"}))
    assert (len(first["cursors"]), first["cursors"][-1]) == (5, first["nextCursor"])
    second = ok(both.get("/executions", params={"limit": "1", "cursor": first["cursors"][1]}))
    assert second["data"][0]["$id"] == first["data"][2]["$id"]
    refused(both.get("/executions", params={"cursors": "true", "profile": "array"}), 422, "invalid")


def test_analytics_of_two_logs_are_added_up(both: httpx.Client, south: httpx.Client) -> None:
    run = ok(south.get("/executions", params={"limit": "1", "priority": "low"}))["data"][0]["$id"]
    usage = {"tokensUsed": 10, "cost": 0.1, "apiCalls": 2}
    ok(south.post(f"/executions/{run}/start"))
    ok(south.post(f"/executions/{run}/metrics", json=usage))
    done = ok(south.post(f"/executions/{run}/complete", json=RESULT))
    here = {"by": "status"}
    there = ok(south.get("/analytics/executions", params={**here, "minPosition": done["position"]}))
    last = ok(both.get("/executions/same"))["position"]
    mine = ok(both.get("/analytics/executions", params={**here, "minPosition": last}))
    found = ok(both.get("/cells/analytics/executions", params={**BOTH, **here}))
    assert found["total"] == mine["total"] + there["total"] == 3 * SOME + 2
    assert (found["statuses"]["completed"], found["statuses"]["queued"]) == (1, 3 * SOME + 1)
    assert (found["tokens"], found["apiCalls"], found["totalCost"]) == (10, 2, 0.1)
    assert found["successRate"] == 1 / (3 * SOME + 2)
    assert found["duration"] == {
        "count": 1,
        "mean": there["duration"]["mean"],
        "max": there["duration"]["max"],
    }
    assert found["firstSeen"] == min(mine["firstSeen"], there["firstSeen"])
    assert found["lastSeen"] == max(mine["lastSeen"], there["lastSeen"])
    groups = {group["key"]: group["total"] for group in found["groups"]}
    assert groups == {"completed": 1, "queued": 3 * SOME + 1}


def test_analytics_name_a_log_that_is_unavailable(both: httpx.Client) -> None:
    asked = "/cells/analytics/executions"
    assert refused(both.get(asked), 503, "cell-away")["cell"] == "west"
    partial = ok(both.get(asked, params={"partial": "true"}))
    assert ([each["cell"] for each in partial["missing"]], partial["total"]) == (
        ["west"],
        3 * SOME + 2,
    )
