"""Logs in one process are isolated: credentials of one log give no access to another."""

from __future__ import annotations

import re

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.web.access.browsers import COOKIE
from tests.api.hosting.conftest import HOST, execution, person
from tests.support import tokens
from tests.support.api_client import ok
from tests.support.running_server import Serving
from tests.support.waiting import wait_until

SIZE = re.compile(r"^executions_database_bytes (\S+)$", re.MULTILINE)
OWN = {"Sec-Fetch-Site": "same-origin"}
LOGS = ("main", "north", "south")
READS = (
    *("/me", "/users", "/executions", "/executions/kept", "/executions/kept/events", "/events"),
    *("/analytics/executions", "/audit/tree-head", "/audit/bundle/kept", "/projections"),
    *(
        "/metrics",
        "/keys",
        "/executions/kept/logs",
        "/inbox",
        "/webhooks",
        "/audit/trail",
        "/cells/executions",
    ),
)


class Asking:
    """Sends requests to one log, each on a new connection."""

    def __init__(self, server: Serving, log: str, headers: dict[str, str]) -> None:
        self._url = f"{server.url}/logs/{log}/api"
        self._headers = headers

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self._url}{path}", headers=self._headers, timeout=30)

    def post(self, path: str, document: object = None) -> httpx.Response:
        return httpx.post(f"{self._url}{path}", json=document, headers=self._headers, timeout=30)


def callers(server: Serving, **headers: str) -> dict[str, Asking]:
    """Clients of each log with the same headers."""
    return {name: Asking(server, name, headers) for name in LOGS}


def test_link_to_the_next_page_leads_to_the_same_log(north: httpx.Client) -> None:
    for number in range(2):
        execution(north, f"page-{number}")
    options: dict[str, str] = {"profile": "array", "limit": "1"}
    wait_until(lambda: "next" in north.get("/executions", params=options).links)
    answer = north.get("/executions", params=options)
    following = answer.links["next"]["url"]
    assert following.startswith("/logs/north/api/executions?")
    assert len(north.get(answer.url.join(following)).json()) == 1


@pytest.fixture(scope="module")
def key(north: httpx.Client) -> str:
    """The key of an administrator of `north`."""
    execution(north, "kept")
    return str(ok(north.post("/keys", json={"role": "admin", "name": "ann"}))["key"])


@pytest.fixture(scope="module")
def by_key(hosting_server: Serving, key: str) -> dict[str, Asking]:
    return callers(hosting_server, Authorization=f"Bearer {key}")


@pytest.mark.parametrize("path", READS)
def test_key_of_one_log_is_unknown_at_the_others(by_key: dict[str, Asking], path: str) -> None:
    assert by_key["north"].get("/me").status_code == 200
    assert [by_key[log].get(path).status_code for log in ("main", "south")] == [401, 401]


def test_direct_command_with_a_key_of_another_log_is_refused(
    by_key: dict[str, Asking], north: httpx.Client, south: httpx.Client
) -> None:
    for log in (north, south):
        execution(log, "commanded")
    for _ in range(3):  # the first caller is looked up, the others are cached
        assert by_key["north"].post("/executions/commanded/pause").status_code == 409
        assert by_key["south"].post("/executions/commanded/pause").status_code == 401
    batch = [{"command": "start", "execution": "commanded"}]
    assert by_key["south"].post("/commands", batch).status_code == 401
    assert ok(south.get("/executions/commanded"))["status"] == "queued"


def test_websocket_with_a_key_of_another_log_is_refused(hosting_server: Serving, key: str) -> None:
    location = hosting_server.url.replace("http", "ws")
    headers = {"Authorization": f"Bearer {key}"}
    with connect(f"{location}/logs/north/api/events", additional_headers=headers):
        pass
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"{location}/logs/south/api/events", additional_headers=headers),
    ):
        pass
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize(
    ("claimed", "let_in"),
    [
        (None, ()),
        ([], ()),
        ("*", ()),
        (["*"], ()),
        ([["north"]], ()),
        ({"north": True}, ()),
        (True, ()),
        ("northern", ()),
        (["North"], ()),
        ("north", ("north",)),
        (["north"], ("north",)),
        (["north", "south"], ("north", "south")),
        (["main"], ("main",)),
    ],
)
def test_json_web_token_is_accepted_only_by_the_logs_that_it_names(
    hosting_server: Serving, claimed: object, let_in: tuple[str, ...]
) -> None:
    token = tokens.token(roles=["admin"], provider=None, logs=claimed).decode()
    clients = callers(hosting_server, Authorization=f"Bearer {token}")
    for _ in range(2):  # a verified token is cached
        found = {name: client.get("/users").status_code for name, client in clients.items()}
        assert found == {name: 200 if name in let_in else 401 for name in LOGS}


def test_session_of_one_log_is_unknown_at_the_others(hosting_server: Serving, key: str) -> None:
    with httpx.Client(base_url=f"{hosting_server.url}/logs/north/api") as browser:
        ok(browser.post("/session", json={"token": key}, headers=OWN))
        cookie = browser.cookies[COOKIE]
    clients = callers(hosting_server, Cookie=f"{COOKIE}={cookie}", **OWN)
    found = {name: client.get("/me").status_code for name, client in clients.items()}
    assert found == {"main": 401, "north": 200, "south": 401}
    assert clients["south"].post("/users", {}).status_code == 401


def test_code_of_one_log_begins_no_session_at_another(
    hosting_server: Serving, north: httpx.Client
) -> None:
    code = ok(north.post("/session/codes"))["code"]
    found = {}
    for name in ("south", "main", "north"):
        with httpx.Client(base_url=f"{hosting_server.url}/logs/{name}/api") as browser:
            found[name] = browser.post("/session", json={"code": code}, headers=OWN).status_code
    assert found == {"south": 401, "main": 401, "north": 201}


def test_key_that_is_revoked_in_its_log_ends_its_streams_and_no_others(
    north: httpx.Client, south: httpx.Client, hosting_server: Serving
) -> None:
    made = ok(north.post("/keys", json={"role": "admin", "name": "bob"}))
    headers = {"Authorization": f"Bearer {made['key']}", "Accept": "text/event-stream"}
    with (
        south.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as other,
        north.stream("GET", "/events", headers=headers) as stream,
    ):
        assert north.delete(f"/keys/{made['$id']}").is_success
        assert "revoked" in stream.read().decode()
        written = person(south, "Sue")
        assert any(written in line for line in other.iter_lines())
    assert north.get("/me", headers=headers).status_code == 401


def test_access_log_has_only_the_reads_of_its_log(
    by_key: dict[str, Asking], north: httpx.Client, south: httpx.Client
) -> None:
    execution(south, "kept")
    ok(by_key["north"].get("/executions/kept"))
    names = {
        each["actor"]
        for log in (south,)
        for each in ok(log.get("/audit/trail?execution=kept&action=read"))["data"]
    }
    assert "key:ann" not in str(names)


def test_metrics_of_a_log_count_only_that_log(
    main: httpx.Client, north: httpx.Client, south: httpx.Client
) -> None:
    position = ok(north.get("/readyz"))["position"]
    of_main, of_north, of_south = (log.get("/metrics").text for log in (main, north, south))
    assert f"executions_log_position {float(position)}" in of_north
    assert 'executions_log{log="north"} 1.0' in of_north
    assert "north" not in of_south
    sizes = [float(SIZE.search(text)[1]) for text in (of_main, of_north, of_south)]  # type: ignore[index]
    assert 0 < sizes[1] < sizes[0]
    assert sizes[2] < sizes[0]
    assert sizes[1] + sizes[2] < sizes[0]
    for text in (of_north, of_south):
        assert "executions_requests_total" not in text
        assert "process_" not in text
    assert "executions_requests_total" in of_main
    assert 'executions_logs{state="known"} 2.0' in of_main


def test_failed_attempts_count_for_all_logs_of_an_address(
    hosting_server: Serving,
) -> None:
    shared = hosting_server.system.admission.attempts
    assert hosting_server.hosted is not None
    opened = [hosting_server.hosted.open_one(name) for name in ("north", "south")]
    admissions = [each.parts.system.admission for each in opened if each is not None and each.parts]
    assert len(admissions) == 2
    assert all(admission.attempts is shared for admission in admissions)


def test_host_of_one_log_gives_no_access_to_another(hosting_server: Serving, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "Host": HOST}
    with httpx.Client(base_url=hosting_server.url, headers=headers) as api:
        assert api.get("/api/users").status_code == 401
        assert api.get("/logs/north/api/users").status_code == 404


def test_statement_of_a_shared_connection_sees_the_tables_of_its_log(
    north: httpx.Client, south: httpx.Client
) -> None:
    ids = {log: {person(log, f"P{number}") for number in range(3)} for log in (north, south)}
    for _ in range(20):
        for log, other in ((north, south), (south, north)):
            position = ok(log.get("/readyz"))["position"]
            shown = ok(log.get(f"/users?limit=500&minPosition={position}"))["data"]
            found = {each["$id"] for each in shown}
            assert ids[log] <= found
            assert not ids[other] & found
