"""Reads of executions are recorded in the access log before they are answered: caller, executions, address, purpose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from websockets.sync.client import connect

from api.access.rights import Role
from api.routes.exports import executions as exports
from api.web.access.proxies import Proxies
from api.web.operation import Operation
from domain.eventlog.access.entry import Access
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from tests.support.access_entries import detail, entries
from tests.support.api_client import Executions, ok, refused
from tests.support.callers import admit, caller, client
from tests.support.operation_examples import BODIES, path_of
from tests.support.operations import OPERATIONS
from tests.support.running_server import TOKEN, Serving
from tests.support.waiting import wait_until
from workers.outbound.addresses import networks

CUSTOMER = caller(Role.CUSTOMER, "acme")
STREAMS = {row.name for row in OPERATIONS if row.media_type == "text/event-stream"}
OWN_TESTS = {*STREAMS, "readDeliveries"}
READS = [row for row in OPERATIONS if row.shows_executions and row.name not in OWN_TESTS]
QUERIES = {
    "diff": "?from=1&to=2",
    "readStep": "",
}


def names(operation: Operation) -> str:
    return operation.name


@pytest.fixture
def correlation() -> str:
    return uuid4().hex


def entries_of(server: Serving, correlation: str) -> list[Access]:
    return entries(server.conninfo, correlation)


@pytest.mark.parametrize("operation", READS, ids=names)
def test_read_is_recorded(
    server: Serving, executions: Executions, correlation: str, operation: Operation
) -> None:
    execution = executions.running(steps=[{"id": "s-1", "name": "Research"}])
    path = path_of(operation, execution) + QUERIES.get(operation.name, "")
    if operation.name == "compare":
        path += f"?with={execution}&withVersion=1"
    if operation.path == "/jobs/{id}":
        path = path.replace(execution, str(make_job(executions)))
    admit(server, CUSTOMER)
    headers = {b"X-Correlation-Id": correlation.encode(), b"X-Purpose": "Prüfung 7".encode()}
    with server.client() as api:
        body = BODIES.get(operation.name)
        answer = api.request(operation.method, path, json=body, headers=headers)
    assert answer.is_success, answer.text
    (found,) = entries_of(server, correlation)
    assert (found.actor, found.credential, found.operation, found.address, found.purpose) == (
        "admin",
        "admin-token",
        operation.name,
        "127.0.0.1",
        "Prüfung 7",
    )
    if "/executions/{id}" in operation.path or operation.name == "readBundle":
        assert found.executions == (execution,)


def make_job(executions: Executions) -> object:
    body = {"command": "start", "filter": {"status": "failed"}}
    return executions._api.post("/executions/bulk", json=body).json()["$id"]


def test_list_records_which_executions_it_showed_and_its_filter(
    api: httpx.Client, server: Serving, executions: Executions, correlation: str
) -> None:
    made = {executions.create(tags=["shown"])["$id"] for _ in range(3)}
    made_at = executions.create()["position"]
    headers = {"X-Correlation-Id": correlation}
    asked = {"tag": "shown", "fields": "status", "minPosition": made_at}
    assert len(ok(api.get("/executions", params=asked, headers=headers))["data"]) == 3
    body = {"filter": {"tags": "shown"}, "limit": 2}
    ok(api.post("/executions/find", json=body, headers=headers))
    listed, found = entries_of(server, correlation)
    assert set(listed.executions) == made
    assert ["tag", "shown"] in detail(listed)["query"]
    assert ["fields", "status"] in detail(listed)["query"]
    assert len(found.executions) == 2
    assert '"tags":"shown"' in detail(found)["body"].replace(" ", "")


def test_export_records_each_page_that_it_shows(
    api: httpx.Client,
    server: Serving,
    executions: Executions,
    correlation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exports, "MOST_ROWS", 2)
    made = [executions.create(tags=["exported"]) for _ in range(5)]
    asked = {"tag": "exported", "minPosition": made[-1]["position"]}
    headers = {"X-Correlation-Id": correlation}
    answer = api.get("/executions.csv", params=asked, headers=headers)
    assert answer.is_success
    pages = [each.executions for each in entries_of(server, correlation)]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {id_ for page in pages for id_ in page} == {each["$id"] for each in made}


def test_export_ends_with_the_key_that_it_began_with(
    api: httpx.Client,
    server: Serving,
    executions: Executions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = ok(api.post("/keys", json={"role": "admin"}))
    headers = {"Authorization": f"Bearer {key['key']}"}
    access, first = server.system.admission.access, exports.ExportHandlers._page

    def revoke() -> None:
        ok(api.delete(f"/keys/{key['$id']}"))
        wait_until(lambda: access.known_caller(headers["Authorization"].encode()) is None)

    async def page_after_revocation(
        self: Any, condition: Any, sort: str, cursor: str | None, store: Store
    ) -> Any:
        if cursor is not None:
            await asyncio.to_thread(revoke)
        return await first(self, condition, sort, cursor, store)

    monkeypatch.setattr(exports, "MOST_ROWS", 2)
    monkeypatch.setattr(exports.ExportHandlers, "_page", page_after_revocation)
    made = [executions.create(tags=["cut"]) for _ in range(3)]
    asked = f"tag=cut&sort=metadata.createdAt&minPosition={made[2]['position']}"
    with httpx.stream("GET", f"{server.url}/executions.csv?{asked}", headers=headers) as answer:
        texts = answer.iter_text()
        seen = next(texts) + next(texts)
        with pytest.raises(httpx.RemoteProtocolError):
            next(texts)
    assert made[0]["$id"] in seen


def test_deliveries_of_a_webhook_record_the_executions_whose_events_they_have(
    api: httpx.Client, server: Serving, executions: Executions, correlation: str
) -> None:
    hook = {"url": "http://127.0.0.1:9/", "events": ["created"], "from": "start"}
    path = f"/webhooks/{ok(api.post('/webhooks', json=hook))['$id']}/deliveries"
    execution = executions.create()["$id"]
    wait_until(lambda: f"/executions/{execution}" in api.get(path).text)
    shown = ok(api.get(path, headers={"X-Correlation-Id": correlation}))["data"]
    (found,) = entries_of(server, correlation)
    assert execution in found.executions
    assert {f"/api/executions/{each}" for each in found.executions} == {
        each["source"] for each in shown
    }


def test_comparison_records_both_executions(
    api: httpx.Client, server: Serving, executions: Executions, correlation: str
) -> None:
    one, other = executions.running(), executions.running()
    ok(
        api.get(
            f"/executions/{one}/compare",
            params={"with": other},
            headers={"X-Correlation-Id": correlation},
        )
    )
    (found,) = entries_of(server, correlation)
    assert found.executions == (one, other)


def test_search_of_log_lines_is_recorded_without_its_words(
    api: httpx.Client, server: Serving, running_execution: str, correlation: str
) -> None:
    headers = {"X-Correlation-Id": correlation}
    ok(api.get(f"/executions/{running_execution}/logs?text=secret-word", headers=headers))
    (found,) = entries_of(server, correlation)
    assert "secret-word" not in found.detail
    assert "text" in found.detail


def test_refused_read_and_command_are_not_recorded(
    api: httpx.Client, server: Serving, queued_execution: str, correlation: str
) -> None:
    headers = {"X-Correlation-Id": correlation}
    refused(api.get("/executions/no-such", headers=headers), 404, "not-found")
    ok(api.post(f"/executions/{queued_execution}/start", headers=headers))
    ok(api.get("/analytics/executions", headers=headers))
    assert entries_of(server, correlation) == []


def test_command_that_changes_nothing_is_recorded_as_a_read(
    api: httpx.Client, server: Serving, queued_execution: str, correlation: str
) -> None:
    path = f"/executions/{queued_execution}/progress"
    ok(api.post(f"/executions/{queued_execution}/start"))
    ok(api.post(path, json={"progress": 5}, headers={"Idempotency-Key": correlation}))
    minimal = {"Prefer": "return=minimal", "X-Correlation-Id": correlation}
    ok(api.post(path, json={"progress": 5}, headers=minimal))
    assert entries_of(server, correlation) == []
    headers = {"X-Correlation-Id": correlation}
    for more in ({}, {"Expect": "100-continue"}, {"Idempotency-Key": correlation}):
        ok(api.post(path, json={"progress": 5}, headers=headers | more))
    found = entries_of(server, correlation)
    assert [each.operation for each in found] == ["updateProgress"] * 3
    assert {each.executions for each in found} == {(queued_execution,)}
    assert {each.address for each in found} == {"127.0.0.1"}


def test_address_behind_a_trusted_proxy_is_that_of_the_client(
    api: httpx.Client,
    server: Serving,
    running_execution: str,
    correlation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = {"X-Correlation-Id": correlation, "X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
    path = f"/executions/{running_execution}"
    ok(api.get(path, headers=headers))
    monkeypatch.setattr(server.system.admission, "proxies", Proxies(networks("127.0.0.1/32")))
    ok(api.get(path, headers=headers))
    ok(api.post(f"{path}/heartbeat", headers=headers))
    assert [each.address for each in entries_of(server, correlation)] == [
        "127.0.0.1",
        "203.0.113.7",
        "203.0.113.7",
    ]


def test_heartbeat_that_shows_the_execution_is_recorded_as_a_read(
    api: httpx.Client, server: Serving, running_execution: str, correlation: str
) -> None:
    path, headers = f"/executions/{running_execution}/heartbeat", {"X-Correlation-Id": correlation}
    place = ok(api.post(path, headers=headers | {"Prefer": "return=minimal"}))
    assert place.keys() == {"$id", "status", "version", "position"}
    assert entries_of(server, correlation) == []
    assert ok(api.post(path, headers=headers))["steps"] == []
    (found,) = entries_of(server, correlation)
    assert (found.operation, found.executions) == ("heartbeat", (running_execution,))


def test_dry_run_is_recorded_as_a_read(
    api: httpx.Client, server: Serving, executions: Executions, correlation: str
) -> None:
    execution = executions.create()["$id"]
    headers = {"X-Correlation-Id": correlation}
    for path, body in (("pause", {}), ("erase", {"reason": "No"})):
        executions.tell(execution, "start")
        asked = f"/executions/{execution}/{path}?dryRun=true"
        ok(api.post(asked, json=body, headers=headers))
    found = entries_of(server, correlation)
    assert [each.operation for each in found] == ["pause", "eraseExecution"]
    assert {each.executions for each in found} == {(execution,)}


def test_recorded_command_has_no_body(
    api: httpx.Client, server: Serving, running_execution: str, correlation: str
) -> None:
    path, once = f"/executions/{running_execution}/complete", {"Idempotency-Key": correlation}
    body = {"success": True, "summary": "Sesame"}
    ok(api.post(f"{path}?dryRun=true", json=body, headers={"X-Correlation-Id": correlation}))
    for _ in range(2):
        ok(api.post(path, json=body, headers={"X-Correlation-Id": correlation, **once}))
    dry, again = entries_of(server, correlation)
    assert [each.operation for each in (dry, again)] == ["complete", "complete"]
    assert detail(dry) == {"query": [["dryRun", "true"]]}
    assert again.detail == ""


def test_fork_is_recorded_as_a_read_of_its_source(
    api: httpx.Client, server: Serving, running_execution: str, correlation: str
) -> None:
    path, headers = f"/executions/{running_execution}/fork", {"X-Correlation-Id": correlation}
    ok(api.post(path, json={"version": 1}, headers=headers))
    (found,) = entries_of(server, correlation)
    assert (found.operation, found.executions) == ("forkExecution", (running_execution,))


def test_read_is_recorded_with_the_name_and_the_credential_of_the_caller(
    server: Serving, executions: Executions, correlation: str
) -> None:
    admit(server, CUSTOMER)
    execution = executions.create()["$id"]
    headers = {"X-Correlation-Id": correlation}
    with client(server, CUSTOMER, **headers) as customer:
        ok(customer.get(f"/executions/{execution}"))
    (found,) = entries_of(server, correlation)
    assert (found.actor, found.credential) == (CUSTOMER.name, CUSTOMER.credential)


def test_stream_records_its_opening_and_its_end(
    api: httpx.Client, server: Serving, running_execution: str, correlation: str
) -> None:
    headers = {"Accept": "text/event-stream", "X-Correlation-Id": correlation}
    path = f"/executions/{running_execution}/events?types=execution.started"
    with api.stream("GET", path, headers=headers) as stream:
        lines = stream.iter_lines()
        next(lines)
        (opened,) = entries_of(server, correlation)
        assert opened.executions == (running_execution,)
        assert detail(opened)["stream"] == "opened"
        assert ["types", "execution.started"] in detail(opened)["query"]
    wait_until(lambda: len(entries_of(server, correlation)) == 2)
    ended = entries_of(server, correlation)[-1]
    assert detail(ended)["stream"] == "ended"
    assert detail(ended)["at"] > detail(opened)["after"]


def test_stream_of_log_lines_records_its_opening_and_its_end(
    api: httpx.Client, server: Serving, running_execution: str, correlation: str
) -> None:
    headers = {"Accept": "text/event-stream", "X-Correlation-Id": correlation}
    with api.stream("GET", f"/executions/{running_execution}/logs", headers=headers) as stream:
        next(stream.iter_lines())
    wait_until(lambda: len(entries_of(server, correlation)) == 2)
    assert [detail(each)["stream"] for each in entries_of(server, correlation)] == [
        "opened",
        "ended",
    ]


def test_stream_of_log_lines_records_which_lines_it_sent(
    api: httpx.Client, server: Serving, running_execution: str, correlation: str
) -> None:
    for message in ("first", "second"):
        line = {"level": "info", "message": message}
        ok(api.post(f"/executions/{running_execution}/logs", json=line))
    headers = {"Accept": "text/event-stream", "X-Correlation-Id": correlation}
    with api.stream("GET", f"/executions/{running_execution}/logs", headers=headers) as stream:
        lines = stream.iter_lines()
        cursor = ""
        while cursor != "event: caught-up":
            sent, cursor = (
                cursor,
                next(line for line in lines if line.startswith(("id: ", "event: c"))),
            )
    wait_until(lambda: len(entries_of(server, correlation)) == 2)
    opened, ended = map(detail, entries_of(server, correlation))
    assert opened["after"] != ended["at"]
    assert sent == f"id: {ended['at']}"


def test_websocket_that_ends_at_once_records_its_end(
    server: Serving, executions: Executions, running_execution: str, correlation: str
) -> None:
    position = executions.tell(running_execution, "complete", success=True, summary="Done.")[
        "position"
    ]
    path = f"/api/executions/{running_execution}/events?from={position}"
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Correlation-Id": correlation}
    with connect(server.url.replace("http", "ws") + path, additional_headers=headers) as socket:
        assert list(socket) == []
    wait_until(lambda: len(entries_of(server, correlation)) == 2)
    _, ended = (detail(each) for each in entries_of(server, correlation))
    assert (ended["stream"], ended["at"]) == ("ended", position)


def test_websocket_records_its_opening_its_seeks_and_its_end(
    server: Serving, executions: Executions, correlation: str
) -> None:
    executions.create()
    url = server.url.replace("http", "ws") + "/api/events?from=start&service=sdr-service"
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Correlation-Id": correlation}
    with connect(url, additional_headers=headers) as socket:
        socket.recv()
        assert [detail(each)["stream"] for each in entries_of(server, correlation)] == ["opened"]
        socket.send('{"seek": 2}')
        wait_until(lambda: len(entries_of(server, correlation)) == 2)
        later = executions.create()["position"]
        while json.loads(socket.recv()).get("position", 0) < later:
            pass
    wait_until(lambda: len(entries_of(server, correlation)) == 3)
    opened, moved, ended = (detail(each) for each in entries_of(server, correlation))
    assert (opened["after"], moved["stream"], moved["after"]) == (0, "moved", 2)
    assert (ended["stream"], ended["at"] > 2) == ("ended", True)


@contextmanager
def break_access_log(server: Serving) -> Iterator[None]:
    """Make every insert into the access log fail during the block."""
    options = session_options("executions")
    with psycopg.connect(server.conninfo, options=options, autocommit=True) as connection:
        connection.execute("ALTER TABLE access_log RENAME TO gone")
        yield
        connection.execute("ALTER TABLE gone RENAME TO access_log")


def test_read_that_cannot_be_recorded_is_not_answered(
    api: httpx.Client, server: Serving, running_execution: str
) -> None:
    stream = {"Accept": "text/event-stream"}
    with break_access_log(server):
        for path, headers in (
            (f"/executions/{running_execution}", {}),
            ("/executions", {}),
            (f"/executions/{running_execution}/watch", stream),
            (f"/executions/{running_execution}/logs", stream),
        ):
            answer = api.get(path, headers=headers)
            refused(answer, 503, "overloaded")
            assert answer.headers["retry-after"]
            assert running_execution not in answer.json()["detail"]
        ok(api.post(f"/executions/{running_execution}/progress", json={"progress": 5}))
    ok(api.get(f"/executions/{running_execution}"))


def test_read_waits_for_its_record(
    api: httpx.Client, server: Serving, running_execution: str, correlation: str
) -> None:
    """Nothing is shown while another process holds the lock of the access log."""
    options = session_options("executions")
    with psycopg.connect(server.conninfo, options=options) as connection:
        connection.execute("SELECT FROM access_head FOR UPDATE")
        with pytest.raises(httpx.ReadTimeout):
            api.get(f"/executions/{running_execution}", timeout=0.5)
        assert server.system.store.outages.current is None
    headers = {"X-Correlation-Id": correlation}
    ok(api.get(f"/executions/{running_execution}", headers=headers))
    assert len(entries_of(server, correlation)) == 1
