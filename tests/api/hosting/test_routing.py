"""A request is routed to a log by its path or its host only."""

from __future__ import annotations

from http.client import HTTPConnection

import httpx
import pytest

from tests.api.hosting.conftest import HOST, execution, person
from tests.support.api_client import ok
from tests.support.running_server import AUTHORIZED, Serving
from tests.support.sse_client import opened, until_caught_up


def test_command_is_recorded_only_in_the_log_of_its_path(
    main: httpx.Client, north: httpx.Client, south: httpx.Client
) -> None:
    before = {log: ok(log.get("/readyz"))["position"] for log in (main, south)}
    made = north.post("/users", json={"name": "Ann", "kind": "person"})
    assert ok(made)["$id"].startswith("north~user_")
    assert made.headers["log-name"] == "north"
    assert {log: ok(log.get("/readyz"))["position"] for log in (main, south)} == before


@pytest.mark.parametrize("name", ["main", "north", "south"])
def test_answer_has_the_name_of_its_log(hosting_server: Serving, name: str) -> None:
    with hosting_server.client(name) as api:
        read = api.get("/readyz")
        command = api.post("/executions/none/start")
    assert {answer.headers["log-name"] for answer in (read, command)} == {name}
    assert read.headers.get_list("log-id") == command.headers.get_list("log-id")
    assert read.json()["log"] == name


def test_location_is_below_the_path_of_the_log(north: httpx.Client) -> None:
    execution(north, "located")
    answer = north.post(
        "/executions", json={"$id": "located-2", "order": "order-1", "service": "sdr"}
    )
    assert answer.headers["location"] == "/logs/north/api/executions/located-2"


def test_source_of_an_event_is_the_path_at_which_it_is_served(
    hosting_server: Serving, north: httpx.Client
) -> None:
    execution(north, "sourced")
    event = ok(north.get("/executions/sourced/events"))["data"][0]
    with httpx.Client(base_url=hosting_server.url, headers=AUTHORIZED) as api:
        assert ok(api.get(event["source"]))["$id"] == "sourced"


def test_log_is_served_at_its_host_and_no_other_there(
    hosting_server: Serving, south: httpx.Client
) -> None:
    made = person(south, "Sue")
    with httpx.Client(base_url=hosting_server.url, headers=AUTHORIZED | {"Host": HOST}) as api:
        assert ok(api.get(f"/api/users/{made}"))["$id"] == made
        assert ok(api.get(f"/logs/south/api/users/{made}"))["$id"] == made
        foreign = [api.get(f"/logs/{log}/api/readyz").status_code for log in ("north", "main")]
        assert api.get("/ui/").status_code in {200, 404}
    assert foreign == [404, 404]


@pytest.mark.parametrize(
    "path",
    [
        "/logs/nowhere/api/readyz",
        "/logs/nor%74h/api/users",
        "/logs/north%2Fapi/users",
        "/logs/north/users",
        "/logs/north/ui/",
        "/logs/north//api/users",
        "//logs/north/api/users",
        "/logs/NORTH/api/users",
        "/api/logs/north/api/users",
        "/logs/south/api/logs/north/api/users",
    ],
)
def test_path_without_the_name_of_a_log_is_not_found(hosting_server: Serving, path: str) -> None:
    with httpx.Client(base_url=hosting_server.url, headers=AUTHORIZED) as api:
        assert api.get(path).status_code == 404


def test_request_that_names_two_hosts_is_refused(hosting_server: Serving) -> None:
    connection = HTTPConnection("127.0.0.1", hosting_server.port, timeout=30)
    connection.putrequest("GET", "/api/readyz", skip_host=True)
    for host in (HOST, "main.example"):
        connection.putheader("Host", host)
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


def test_id_generated_by_another_log_is_misdirected(
    north: httpx.Client, south: httpx.Client
) -> None:
    made = person(north, "Ann")
    answer = south.get(f"/users/{made}")
    assert (answer.status_code, answer.json()["log"]) == (421, "north")


def test_equal_ids_in_two_logs_are_two_executions(north: httpx.Client, south: httpx.Client) -> None:
    for log in (north, south):
        execution(log, "twin")
    ok(north.post("/executions/twin/start"))
    assert ok(north.get("/executions/twin"))["status"] == "running"
    assert ok(south.get("/executions/twin"))["status"] == "queued"


def test_stream_has_only_the_events_of_its_log(north: httpx.Client, south: httpx.Client) -> None:
    written = person(south, "Sue")
    with opened(north, after=0) as source:
        read = until_caught_up(source)
    subjects = {frame.data["subject"] for frame in read if frame.is_event}
    sources = {frame.data["source"] for frame in read if frame.is_event}
    assert written not in subjects
    assert all(source.startswith("/logs/north/api/") for source in sources)


def test_lists_of_a_log_show_its_new_executions(north: httpx.Client, south: httpx.Client) -> None:
    execution(north, "listed")
    position = ok(north.get("/readyz"))["position"]
    shown = ok(north.get(f"/executions?minPosition={position}"))["data"]
    assert "listed" in {each["$id"] for each in shown}
    position = ok(south.get("/readyz"))["position"]
    shown = ok(south.get(f"/executions?minPosition={position}"))["data"]
    assert "listed" not in {each["$id"] for each in shown}
