"""A log with a name: ids and sources begin with the name, and ids of other logs are refused with their location."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import ulid

from domain.eventlog.migrations import migrate_log
from domain.eventlog.setup.log_name import OtherName, settle_log_name
from tests.support.api_client import Executions, ok, refused
from tests.support.running_server import Serving, serving
from tests.support.sse_client import opened, until_caught_up

SOUTH = "https://south.example"
MADE_ELSEWHERE = f"west~exec_{ulid.ULID()}"


@pytest.fixture(scope="module")
def server(module_database: str) -> Iterator[Serving]:
    cells = f"north=http://127.0.0.1:1,south={SOUTH}/"
    with serving(module_database, log_name="north", cells=cells) as running:
        yield running


def test_ids_that_are_made_begin_with_the_name(api: httpx.Client, executions: Executions) -> None:
    made = executions.create()["$id"]
    assert made.startswith("north~exec_")
    [sent] = api.post("/commands", json=[{"command": "start", "execution": made}]).json()
    assert sent["status"] == 200
    order = ok(api.post("/orders", json={"service": "sdr-service", "customer": "acme"}))["$id"]
    confirmed = api.post(f"/orders/{order}/confirm")
    assert order.startswith("north~order_")
    assert confirmed.headers["location"].startswith("/api/executions/north~exec_")


def test_sources_of_envelopes_begin_with_the_name(
    api: httpx.Client, executions: Executions
) -> None:
    executions.create(**{"$id": "own-id"})
    expected = "/logs/north/api/executions/own-id"
    history = ok(api.get("/executions/own-id/events"))["data"]
    with opened(api, "/executions/own-id/events") as stream:
        streamed = [frame.data for frame in until_caught_up(stream) if frame.is_event]
    with opened(api, "/executions/own-id/events", include="execution") as stream:
        folded = [frame.data for frame in until_caught_up(stream) if frame.is_event]
    dry = ok(api.post("/executions/own-id/start", params={"dryRun": "true"}))["events"]
    sources = {event["source"] for event in (*history, *streamed, *folded, *dry)}
    assert (sources, len(history), len(streamed), len(folded)) == ({expected}, 1, 1, 1)


def test_answers_and_readiness_have_the_name(api: httpx.Client) -> None:
    ready = api.get("/readyz")
    assert (ready.headers["log-name"], ready.json()["log"]) == ("north", "north")
    assert api.get("/executions").headers["log-name"] == "north"


@pytest.mark.parametrize("method", ["GET", "PATCH", "POST"])
def test_id_of_another_log_is_refused_with_the_address_of_that_log(
    api: httpx.Client, method: str
) -> None:
    path = "/executions/south~mine" + ("/start" if method == "POST" else "")
    problem = refused(api.request(method, path), 421, "misdirected")
    assert (problem["log"], problem["url"]) == ("south", SOUTH)
    assert SOUTH in problem["detail"]


def test_generated_id_of_an_unknown_log_is_refused_without_an_address(
    api: httpx.Client,
) -> None:
    problem = refused(api.get(f"/executions/{MADE_ELSEWHERE}/steps"), 421, "misdirected")
    assert (problem["log"], "url" in problem) == ("west", False)


def test_id_chosen_by_a_client_belongs_to_this_log(
    api: httpx.Client, executions: Executions
) -> None:
    refused(api.get("/executions/west~mine"), 404, "not-found")
    assert executions.create(**{"$id": "west~mine"})["$id"] == "west~mine"
    assert ok(api.get("/executions/west~mine"))["$id"] == "west~mine"


def test_creation_with_an_id_of_another_log_is_refused(api: httpx.Client) -> None:
    ids = {"order": "order-123", "service": "sdr-service"}
    refused(api.post("/executions", json={"$id": "south~1", **ids}), 421, "misdirected")
    user = {"$id": "south~ann", "name": "Ann", "kind": "person"}
    refused(api.post("/users", json=user), 421, "misdirected")


def test_command_of_a_batch_to_another_log_is_refused_alone(executions: Executions) -> None:
    mine = executions.create()["$id"]
    commands = [{"command": "start", "execution": name} for name in ("south~1", mine)]
    lines = [{"command": "log", "execution": "south~1", "level": "info", "message": "x"}]
    outcomes = executions._api.post("/commands", json=[*commands, *lines]).json()
    assert [outcome["status"] for outcome in outcomes] == [421, 200, 421]
    assert outcomes[0]["problem"]["url"] == SOUTH


def test_caller_without_a_token_is_not_given_addresses_of_other_logs(server: Serving) -> None:
    for headers in ({}, {"Authorization": "Bearer somebody-elses-token"}):
        answer = httpx.get(f"{server.url}/api/executions/south~1", headers=headers)
        refused(answer, 401, "unauthenticated")
        assert "south.example" not in answer.text


def test_log_without_a_name_treats_every_id_as_its_own(database: str) -> None:
    with serving(database, cells=f"south={SOUTH}") as running, running.client() as api:
        answer = api.get("/executions/south~1")
        refused(answer, 404, "not-found")
        ready = api.get("/readyz").json()
        assert ("log-name" in answer.headers, "log" in ready) == (False, False)
        user = {"$id": "ann", "name": "Ann", "kind": "person"}
        assert "~" not in ok(api.post("/users", json={"name": "Bob", "kind": "person"}))["$id"]
        ok(api.post("/users", json=user))


def test_name_of_a_log_cannot_be_changed(database: str) -> None:
    assert settle_log_name(database, "executions") is None
    assert settle_log_name(database, "executions", "north") == "north"
    migrate_log(database, "executions")
    assert settle_log_name(database, "executions") == "north"
    with pytest.raises(OtherName, match="north"):
        settle_log_name(database, "executions", "south")
    assert settle_log_name(database, "executions") == "north"
