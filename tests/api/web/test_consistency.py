"""`Log-Position` is the position of the data of an answer, and `minPosition` waits until the data has reached a position."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest

from api.web.parameters import FRESH
from tests.support.api_client import Executions, ok, refused
from tests.support.operations import OPERATIONS
from tests.support.running_server import Serving

READS = (
    "/executions",
    "/executions/{id}",
    "/executions/{id}/status",
    "/executions/{id}/order",
    "/executions/{id}/events",
    "/executions/{id}/logs",
    "/executions/{id}/diff?from=1&to=2",
    "/executions/{id}?version=2",
    "/services",
    "/services/sdr-service",
    "/analytics/executions",
)
WAITING = (
    "/executions",
    "/executions/{id}/logs",
    "/executions/{id}",
    "/executions/{id}?version=1",
    "/executions/{id}/steps?at=2999-01-01T00:00:00Z",
    "/executions/{id}/events",
    "/executions/{id}/diff?from=1&to=2",
    "/orders",
    "/services/sdr-service",
    "/users/acme",
    "/workflows/outreach-steps",
    "/orders/order-123",
)


STREAMED = {
    "streamEvents",
    *("watchExecutions", "watchExecution"),
    *("monitorExecutions", "monitorExecution"),
}


def test_every_read_accepts_min_position() -> None:
    reads = [row for row in OPERATIONS if row.right.endswith(".read")]
    lacking = {row.name for row in reads if any(one not in row.parameters for one in FRESH)}
    assert lacking == STREAMED


def missing_position(api: httpx.Client) -> int:
    """A position that the log has not reached yet, within the accepted distance."""
    return int(ok(api.get("/readyz"))["position"]) + 1


@pytest.mark.parametrize("path", READS)
def test_every_read_answers_log_position(
    api: httpx.Client, running_execution: str, path: str
) -> None:
    joint = "&" if "?" in path else "?"
    response = api.get(f"{path.format(id=running_execution)}{joint}minPosition=1")
    ok(response)
    assert 0 < int(response.headers["log-position"]) < missing_position(api)


def test_single_execution_is_always_current(api: httpx.Client, executions: Executions) -> None:
    execution = executions.running()
    for progress in range(1, 31):
        received = executions.tell(execution, "progress", progress=progress)
        shown = api.get(f"/executions/{execution}")
        assert ok(shown)["progress"] == progress
        assert int(shown.headers["log-position"]) >= received["position"]


def test_list_with_min_position_of_a_command_shows_its_effect(
    api: httpx.Client, executions: Executions
) -> None:
    for number in range(20):
        created = executions.create(tags=[f"waited-{number}"])
        query = {"tag": f"waited-{number}", "minPosition": created["position"]}
        response = api.get("/executions", params=query)
        assert [found["$id"] for found in ok(response)["data"]] == [created["$id"]]
        assert int(response.headers["log-position"]) >= created["position"]


def test_find_and_analytics_wait_for_min_position(
    api: httpx.Client, executions: Executions
) -> None:
    created = executions.create(tags=["found"])
    waited = {"minPosition": created["position"]}
    found = ok(api.post("/executions/find", json={"tags": "found"}, params=waited))
    assert [item["$id"] for item in found["data"]] == [created["$id"]]
    analytics_queries = ok(api.get("/analytics/executions", params=waited))
    assert analytics_queries["statuses"]["queued"] >= 1


class Waited(NamedTuple):
    """An answer, and the seconds that it took."""

    response: httpx.Response
    seconds: float


@pytest.fixture(scope="module")
def waited(api: httpx.Client, executions: Executions) -> dict[str, Waited]:
    """The answer of each path to a request with a missing `minPosition`; all are sent at the same time."""
    execution = executions.running()
    missing = {"minPosition": missing_position(api)}

    def ask(path: str) -> Waited:
        begun = time.monotonic()
        place = httpx.URL(path.format(id=execution)).copy_merge_params(missing)
        response = api.get(place, headers={"Prefer": "wait=1"})
        return Waited(response, time.monotonic() - begun)

    with ThreadPoolExecutor(len(WAITING)) as pool:
        return dict(zip(WAITING, pool.map(ask, WAITING), strict=True))


@pytest.mark.parametrize("path", WAITING)
def test_wait_for_a_missing_position_ends_after_the_preferred_time(
    waited: dict[str, Waited], path: str
) -> None:
    response, seconds = waited[path]
    problem = refused(response, 504, "not-yet-visible")
    assert 0.9 < seconds < 3
    assert problem["minPosition"] == problem["position"] + 1
    assert f"The log ends at position {problem['position']}" in problem["detail"]
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("path", [*WAITING, "/analytics/executions"])
def test_position_of_another_log_is_refused_at_once(
    server: Serving, api: httpx.Client, running_execution: str, path: str
) -> None:
    place = httpx.URL(path.format(id=running_execution))
    ok(api.get(place.copy_merge_params({"minPosition": "1", "log": server.log_id})))
    asked = place.copy_merge_params({"minPosition": f"{2**62}", "log": "of the backup"})
    problem = refused(api.get(asked, headers={"Prefer": "wait=30"}, timeout=10), 410, "other-log")
    assert problem["log"] == server.log_id


def test_read_with_min_position_waits_for_a_command_sent_later(
    api: httpx.Client, executions: Executions, running_execution: str
) -> None:
    coming = {"minPosition": missing_position(api)}
    with ThreadPoolExecutor(2) as pool:
        reads = [
            pool.submit(api.get, path, params=coming)
            for path in ("/executions", f"/executions/{running_execution}")
        ]
        time.sleep(0.3)
        assert not any(read.done() for read in reads)
        executions.tell(running_execution, "progress", progress=77)
        listed, shown = (ok(read.result()) for read in reads)
    assert shown["progress"] == 77
    assert 77 in {item["progress"] for item in listed["data"]}
