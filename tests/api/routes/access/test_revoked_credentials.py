"""Open streams and waiting requests end when their key is revoked or expires, with the reason."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from domain.json_forms import format_time
from tests.support.api_client import JSON, Catalog, Executions, ok, refused
from tests.support.running_server import Serving, serving
from tests.support.stream_consumers import read_until_closed, socket

PATHS = (
    "/events?from=now",
    "/executions/watch",
    "/executions/{id}/events",
    "/executions/{id}/logs",
)
SSE = {"Accept": "text/event-stream"}


@pytest.fixture
def key(api: httpx.Client, catalog: Catalog) -> JSON:
    return ok(api.post("/keys", json={"role": "provider", "party": catalog.provider}))


def headers(key: JSON) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


def revoke(api: httpx.Client, key: JSON) -> None:
    ok(api.delete(f"/keys/{key['$id']}"))


def last_frame(lines: Iterator[str]) -> tuple[str, JSON]:
    """The last frame with data until the stream ends."""
    name = ""
    found: tuple[str, JSON] = ("", {})
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            found = name, json.loads(line.removeprefix("data: "))
    return found


@pytest.mark.parametrize("path", PATHS)
def test_event_stream_of_a_revoked_key_ends_with_the_reason(
    server: Serving, api: httpx.Client, executions: Executions, key: JSON, path: str
) -> None:
    where = server.url + "/api" + path.replace("{id}", executions.running())
    with (
        ThreadPoolExecutor(1) as pool,
        httpx.stream("GET", where, headers=headers(key) | SSE, timeout=20) as stream,
    ):
        assert stream.status_code == 200
        ending = pool.submit(last_frame, stream.iter_lines())
        revoke(api, key)
        name, data = ending.result(20)
    assert (name, data["reason"]) == ("closing", "revoked")
    refused(httpx.get(where, headers=headers(key) | SSE), 401, "unauthenticated")


def test_websocket_of_a_revoked_key_is_closed_with_4401(
    server: Serving, api: httpx.Client, key: JSON
) -> None:
    with socket(server, "/executions/watch", headers(key)) as watching:
        assert json.loads(watching.recv(timeout=20))["type"] == "caught-up"
        revoke(api, key)
        frames = list(read_until_closed(watching))
        with pytest.raises(ConnectionClosed) as closed:
            watching.recv(timeout=20)
    assert frames[-1]["type"] == "closing"
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason.split(";")[0]) == (4401, "revoked")


def test_stream_of_a_revoked_key_in_another_process_ends(
    server: Serving, api: httpx.Client, key: JSON
) -> None:
    with serving(server.conninfo) as other, socket(other, "/events", headers(key)) as watching:
        assert json.loads(watching.recv(timeout=20))["type"] == "caught-up"
        revoke(api, key)
        assert list(read_until_closed(watching))[-1]["type"] == "closing"


def test_streams_of_other_keys_continue(
    server: Serving, api: httpx.Client, catalog: Catalog, key: JSON
) -> None:
    other = ok(api.post("/keys", json={"role": "provider", "party": catalog.provider}))
    with (
        socket(server, "/executions/watch", headers(key)) as ending,
        socket(server, "/executions/watch", headers(other)) as going_on,
    ):
        for each in (ending, going_on):
            each.recv(timeout=20)
        revoke(api, key)
        list(read_until_closed(ending))
        with pytest.raises(TimeoutError):
            going_on.recv(timeout=0.5)


def test_stream_of_a_key_that_expires_ends_with_it(
    server: Serving, api: httpx.Client, catalog: Catalog
) -> None:
    soon = format_time(datetime.now(UTC) + timedelta(seconds=2))
    body = {"role": "provider", "party": catalog.provider, "expiresAt": soon}
    key = ok(api.post("/keys", json=body))
    with socket(server, "/executions/watch", headers(key)) as watching:
        frames = list(read_until_closed(watching))
    assert (frames[-1]["type"], frames[-1]["reason"]) == ("closing", "expired")


def revoke_while_it_waits(api: httpx.Client, key: JSON, method: str, path: str, **how: Any) -> None:
    given = headers(key) | {"Prefer": "wait=20"}
    with ThreadPoolExecutor(1) as pool:
        where = f"{api.base_url}{path}"
        waiting = pool.submit(httpx.request, method, where, headers=given, timeout=30, **how)
        time.sleep(0.5)
        assert not waiting.done(), waiting.result().text
        revoke(api, key)
        refused(waiting.result(30), 401, "unauthenticated")


def test_waiting_claim_is_answered_401_when_its_key_is_revoked(
    api: httpx.Client, catalog: Catalog, key: JSON
) -> None:
    service = {"$id": "idle", "name": "Idle", "provider": catalog.provider}
    ok(api.post("/services", json=service))
    body = {"worker": "w", "service": "idle", "wait": 20}
    revoke_while_it_waits(api, key, "POST", "executions/claim", json=body)


def test_waiting_read_is_answered_401_when_its_key_is_revoked(api: httpx.Client, key: JSON) -> None:
    revoke_while_it_waits(api, key, "GET", "executions?minPosition=999999999")
