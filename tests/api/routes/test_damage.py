"""Damaged data is answered 500 `damaged` or shown as null, and does not affect other events and executions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import httpx
import psycopg
import pytest
import structlog
from structlog.typing import EventDict

from api.access.rights import Role
from api.embedded_postgres.server import EmbeddedPostgres
from domain.damage import REPORTS
from domain.eventlog.sessions import session_options
from tests.support.api_client import JSON, ok, refused
from tests.support.callers import admit, caller, client
from tests.support.databases import new_database
from tests.support.running_server import serving
from tests.support.sse_client import opened, positions, until_caught_up

SECRET = "Sesame-opens"
KEY = "UPDATE data_keys SET wrapped = {} WHERE originator_id = 'execution/bad'"
STEP_VERSION = 5


class Damage(NamedTuple):
    """A change to the tables, the versions of the execution that it makes unreadable, and whether the
    execution can still be shown, with null for sealed fields.
    """

    change: str
    versions: set[int]
    shown: bool


EVENT = "UPDATE events SET {} WHERE originator_id = 'execution/bad' AND originator_version = 5"
TEXT = "convert_from(state, 'UTF8')"
MOVED = """(SELECT wrapped FROM data_keys WHERE originator_id = 'execution/good')"""
DAMAGES = {
    "token": Damage(
        EVENT.format(f"""state = convert_to(replace({TEXT}, '5.', '5.AAAA'), 'UTF8')"""),
        {STEP_VERSION},
        shown=True,
    ),
    "key-damaged": Damage(KEY.format("'\\x0102'"), {STEP_VERSION}, shown=True),
    "key-of-another": Damage(KEY.format(MOVED), {STEP_VERSION}, shown=True),
    "meta": Damage(EVENT.format("meta = '{\"by'"), {STEP_VERSION}, shown=False),
    "body": Damage(
        EVENT.format(f"""state = '{{"step": {{"{SECRET}": 1}}}}'"""), set(), shown=False
    ),
    "body-cut-short": Damage(
        EVENT.format("state = substring(state FOR 20)"), {STEP_VERSION}, shown=False
    ),
    "type": Damage(EVENT.format("topic = 'execution.lost'"), set(), shown=False),
}


def change(conninfo: str, statement: str) -> None:
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER append_only")
        assert connection.execute(statement.encode()).rowcount == 1
        connection.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER append_only")


def write(api: httpx.Client) -> None:
    ok(api.post("/users", json={"$id": "acme", "name": "Acme", "kind": "organization"}))
    ok(api.post("/services", json={"$id": "sdr", "name": "Leads", "provider": "acme"}))
    ok(api.post("/orders", json={"$id": "order", "service": "sdr", "customer": "acme"}))
    for name in ("bad", "good"):
        body = {"$id": name, "order": "order", "service": "sdr", "status": "running"}
        ok(api.post("/executions", json=body))
        ok(api.post(f"/executions/{name}/steps/one/start", json={"name": "One"}))
        ok(api.post(f"/executions/{name}/steps/one/complete", json={"output": {"a": SECRET}}))
        ok(api.post(f"/executions/{name}/logs", json={"level": "info", "message": SECRET}))


class Damaged(NamedTuple):
    """A client of a server that started with damaged tables, and the logs of this server."""

    api: httpx.Client
    damage: Damage
    logs: list[EventDict]
    reports: int
    """The number of log lines when it started."""


@pytest.fixture(scope="module", params=DAMAGES.values(), ids=list(DAMAGES))
def damaged(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, request: pytest.FixtureRequest
) -> Iterator[Damaged]:
    """One server for all tests of a damage: they only read, or change data that no other test reads."""
    with new_database(admin) as name:
        yield from served(postgres.conninfo(name), request.param)


def served(database: str, damage: Damage) -> Iterator[Damaged]:
    with serving(database) as whole, whole.client() as api:
        write(api)
        ok(
            api.get(
                "/executions", params={"minPosition": ok(api.get("/executions/good"))["position"]}
            )
        )
    REPORTS.forget()
    change(database, damage.change)
    with (
        structlog.testing.capture_logs() as logs,
        serving(database) as server,
        server.client() as api,
    ):
        yield Damaged(api, damage, logs, REPORTS.count)
    assert SECRET not in repr(logs)


def test_damaged_execution_is_shown_with_nulls_or_answered_500(
    damaged: Damaged,
) -> None:
    answer = damaged.api.get("/executions/bad")
    if damaged.damage.shown:
        shown = ok(answer)
        assert shown["unreadable"] is True
        assert shown["steps"][0]["output"] is None
        assert REPORTS.count > damaged.reports
    else:
        problem = refused(answer, 500, "damaged")
        assert SECRET not in str(problem)
        assert "stored data is damaged" in [log["event"] for log in damaged.logs]
        version = {"version": STEP_VERSION - 1}
        assert ok(damaged.api.get("/executions/bad", params=version))["version"] == 4
    whole = ok(damaged.api.get("/executions/good"))
    assert whole["steps"][0]["output"] == {"a": SECRET}
    assert "unreadable" not in whole


def test_lists_and_related_objects_are_shown_beside_a_damaged_execution(damaged: Damaged) -> None:
    found: dict[str, JSON] = {
        item["$id"]: item
        for item in ok(damaged.api.get("/executions", params={"expand": "order,service"}))["data"]
    }
    assert found.keys() == {"bad", "good"}
    assert found["good"]["steps"][0]["output"] == {"a": SECRET}
    assert found["good"]["order"]["$id"] == "order"
    at = ok(damaged.api.get("/executions/good"))["metadata"]["updatedAt"]
    past = ok(damaged.api.get("/executions", params={"at": at}))["data"]
    assert "good" in {item["$id"] for item in past}


def test_execution_without_a_beginning_is_listed_as_unreadable(database: str) -> None:
    with serving(database) as whole, whole.client() as api:
        write(api)
        position = ok(api.get("/executions/good"))["position"]
        ok(api.get("/executions", params={"minPosition": position}))
    change(database, EVENT.format("meta = 'x'").replace("version = 5", "version = 1"))
    with serving(database) as server, server.client() as api:
        for query in ({}, {"expand": "order"}, {"fields": "metadata.createdAt,status"}):
            good, bad = ok(api.get("/executions", params=query))["data"]
            assert bad == {"$type": "ServiceExecution", "$id": "bad", "unreadable": True}
            assert good["status"] == "running"


def test_damaged_events_are_envelopes_without_data_in_the_history(damaged: Damaged) -> None:
    page = ok(damaged.api.get("/executions/bad/events", params={"include": "execution"}))["data"]
    assert [event["version"] for event in page] == list(range(1, len(page) + 1))
    unreadable = {event["version"] for event in page if event.get("unreadable")}
    assert unreadable == damaged.damage.versions
    assert all(event["data"] is None for event in page if event.get("unreadable"))


def test_diff_shows_damaged_content_as_null_and_is_answered_500_for_a_damaged_event(
    damaged: Damaged,
) -> None:
    answer = damaged.api.get("/executions/bad/diff", params={"from": 4, "to": 5})
    if damaged.damage.shown:
        changes: list[JSON] = answer.json()
        assert {"a": SECRET} not in [change.get("value") for change in changes]
        assert "/steps/0/status" in [change["path"] for change in changes]
    else:
        refused(answer, 500, "damaged")
    changes = damaged.api.get("/executions/good/diff", params={"from": 4, "to": 5}).json()
    assert {"a": SECRET} in [change.get("value") for change in changes]


def test_streams_continue_after_damaged_events(damaged: Damaged) -> None:
    for path, place in (("/events", "position"), ("/executions/bad/events", "version")):
        with opened(damaged.api, path, **{"from": "start"}) as source:
            read = until_caught_up(source)
        numbers = [frame.data[place] for frame in read if frame.is_event]
        assert numbers == list(range(1, len(numbers) + 1)), path
        bad = [frame.data for frame in read if frame.data.get("unreadable")]
        assert {event["version"] for event in bad} == damaged.damage.versions
    with opened(damaged.api, "/executions/watch", **{"from": "start"}) as source:
        assert positions(until_caught_up(source))


def test_log_lines_and_commands_of_others_work_beside_a_damaged_execution(
    damaged: Damaged, request: pytest.FixtureRequest
) -> None:
    lines = ok(damaged.api.get("/executions/bad/logs"))["data"]
    key = "key" in request.node.callspec.id
    assert [line["message"] for line in lines] == [None if key else SECRET]
    assert [line.get("unreadable", False) for line in lines] == [key]
    refused(damaged.api.get("/executions/bad/logs", params={"log": "other"}), 410, "other-log")
    ok(
        damaged.api.post(
            "/executions/good/complete", json={"success": True, "output": SECRET, "summary": SECRET}
        )
    )


def test_command_that_needs_a_damaged_key_is_refused_and_its_idempotency_key_not_stored(
    database: str,
) -> None:
    with serving(database) as whole, whole.client() as api:
        write(api)
    change(database, DAMAGES["key-damaged"].change)
    with serving(database) as server, server.client() as api:
        body = {"success": True, "output": SECRET, "summary": SECRET}
        once = {"Idempotency-Key": "once"}
        refused(api.post("/executions/bad/complete", json=body, headers=once), 500, "damaged")
        ok(api.post("/executions/bad/progress", json={"progress": 50}))
        again = api.post("/executions/bad/complete", json=body, headers=once)
        assert "idempotency-replayed" not in again.headers
        refused(again, 500, "damaged")


def test_invalid_stored_data_is_answered_500_and_never_4xx(database: str) -> None:
    with serving(database) as whole, whole.client() as api:
        write(api)
    change(database, DAMAGES["body"].change)
    with serving(database) as server, server.client() as api:
        refused(api.post("/executions/bad/progress", json={"progress": 5}), 500, "damaged")
        refused(api.patch("/executions/bad", json={"tags": ["a"]}), 500, "damaged")
        refused(api.get("/executions/bad/diff", params={"from": 1, "to": 5}), 500, "damaged")
        refused(api.get("/executions/bad/steps/one"), 500, "damaged")
        counted = api.get("/metrics").text
    assert 'executions_refusals_total{code="damaged"}' in counted
    assert "executions_unreadable_total" in counted


BELOW = ("", "/steps", "/events", "/order", "/verify", "/access-log", "/diff?from=1&to=2")
CONCEALED = {"instance", "correlation"}


def problem_of(answer: httpx.Response) -> tuple[int, JSON]:
    """A refusal without the requested id."""
    problem = {name: value for name, value in answer.json().items() if name not in CONCEALED}
    return answer.status_code, problem


def test_damaged_execution_is_not_found_outside_its_scope_and_damaged_for_its_parties(
    database: str,
) -> None:
    with serving(database) as whole, whole.client() as api:
        write(api)
    change(database, DAMAGES["body"].change)
    owner, stranger = caller(Role.CUSTOMER, "acme"), caller(Role.CUSTOMER, "stranger")
    batch = [[{"command": "cancel", "execution": name}] for name in ("bad", "no-such")]
    with serving(database) as server:
        admit(server, owner, stranger)
        with client(server, stranger) as other, client(server, owner) as own:
            for path in BELOW:
                bad, absent = (
                    problem_of(other.get(f"/executions/{name}{path}"))
                    for name in ("bad", "no-such")
                )
                assert bad == absent, path
                assert bad[0] == 404
            sent = [
                problem_of(other.post(f"/executions/{id_}/cancel")) for id_ in ("bad", "no-such")
            ]
            assert sent[0] == sent[1]
            one, two = (other.post("/commands", json=each).json()[0]["status"] for each in batch)
            assert (one, two) == (404, 404)
            refused(own.get("/executions/bad"), 500, "damaged")
            refused(own.post("/executions/bad/cancel"), 500, "damaged")


def test_damaged_grant_is_not_found_for_others_and_damaged_for_its_maker(
    database: str,
) -> None:
    owner, stranger = caller(Role.CUSTOMER, "acme"), caller(Role.CUSTOMER, "stranger")
    body = {
        "auditor": "ann",
        "order": "order",
        "purpose": "Audit",
        "expiresAt": "2099-01-01T00:00:00Z",
    }
    with serving(database) as whole, whole.client() as api:
        write(api)
        admit(whole, owner)
        with client(whole, owner) as own:
            grant = ok(own.post("/grants", json=body))["$id"]
    change(database, "UPDATE events SET state = '1' WHERE originator_id LIKE 'grant/%'")
    with serving(database) as server:
        admit(server, owner, stranger)
        for who, status in ((owner, 500), (stranger, 404)):
            with client(server, who) as asking:
                for method in ("GET", "DELETE"):
                    assert asking.request(method, f"/grants/{grant}").status_code == status


MADE = {
    "webhooks": ("/webhooks", {"url": "http://127.0.0.1:9/hook", "events": ["completed"]}),
    "jobs": ("/executions/bulk", {"command": "cancel", "filter": {"status": "queued"}}),
}


def test_damaged_webhook_or_job_is_not_found_for_others_and_damaged_for_its_maker(
    database: str,
) -> None:
    maker, stranger = caller(Role.CUSTOMER, "acme"), caller(Role.CUSTOMER, "stranger")
    made = {}
    with serving(database) as whole, whole.client() as api:
        write(api)
        admit(whole, maker)
        with client(whole, maker) as own:
            for kind, (path, body) in MADE.items():
                made[kind] = f"/{kind}/{ok(own.post(path, json=body))['$id']}"
    first = "UPDATE events SET state = '1' WHERE originator_version = 1 AND originator_id LIKE "
    for kind in ("'webhook/%'", "'job/%'"):
        change(database, first + kind)
    with serving(database) as server:
        admit(server, maker, stranger)
        with client(server, stranger) as other, client(server, maker) as own:
            for kind, path in made.items():
                assert problem_of(other.get(path)) == problem_of(other.get(f"/{kind}/none")), kind
                assert other.get(path).status_code == 404
                refused(own.get(path), 500, "damaged")
            for ask in ("/test", "/enable", "/rotate"):
                hook = made["webhooks"]
                assert other.post(f"{hook}{ask}").status_code == 404, ask
                assert own.post(f"{hook}{ask}").status_code == 500, ask
            assert other.delete(made["webhooks"]).status_code == 404
            assert own.delete(made["webhooks"]).status_code == 500
