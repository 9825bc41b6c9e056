"""An edge sends the same streams as the server, byte for byte, with the same rights and refusals; other requests are refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.api_client import JSON, ok, refused
from tests.support.fan_out import FanOut
from tests.support.service_process import TOKEN, Service
from tests.support.sse_client import frames, opened, until_caught_up
from tests.support.stream_consumers import OURS, client, head, past, read_until_closed, socket

WORD = "Sesame"
SSE = {"Accept": "text/event-stream"}
STREAMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/events", {}),
    ("/events", {"include": "execution"}),
    ("/events", {"types": "execution.step.*", "customer": "acme"}),
    ("/executions/watch", {}),
    ("/executions/watch", {"include": "execution", "status": "running"}),
    ("/executions/monitor", {"types": "progress"}),
    ("/executions/{}/events", {}),
    ("/executions/{}/watch", {"include": "execution"}),
)
BAD: tuple[tuple[str, dict[str, str]], ...] = (
    ("/events", {"from": "1000000"}),
    ("/events", {"from": "yesterday"}),
    ("/events", {"from": "start", "log": "of the backup"}),
    ("/events", {"types": "no.such.type"}),
    ("/events", {"colour": "red"}),
    ("/events", {"speed": "fast"}),
    ("/events", {"from": "1", "format": "xml"}),
    ("/executions/no-such-one/watch", {}),
    ("/executions/watch", {"status": "sleeping"}),
)


def work(api: httpx.Client, word: str = WORD) -> str:
    """Create and complete an execution with content in all sealed fields; return its id."""
    ids = {"order": "order-1", "service": "sdr", "status": "running"}
    id_ = str(ok(api.post("/executions", json=ids))["$id"])
    commands: tuple[tuple[str, JSON], ...] = (
        ("steps/s-1/start", {"name": "Research", "input": {"a": word}}),
        ("progress", {"progress": 40}),
        ("metrics", {"apiCalls": 3}),
        ("steps/s-1/complete", {"output": [word]}),
        ("checkpoints", {"state": {"page": word}}),
        ("pause", {"reason": word}),
        ("resume", {}),
        ("complete", {"success": True, "output": {"found": word}, "summary": word}),
    )
    for command, body in commands:
        ok(api.post(f"/executions/{id_}/{command}", json=body))
    return id_


@pytest.fixture(scope="module")
def worked(fan_out: FanOut) -> str:
    """The id of a completed execution."""
    with client(fan_out.service.url) as api:
        return work(api)


def raw(door: Service, path: str, after: int, until: int, query: dict[str, str]) -> list[bytes]:
    """The frames of the past as the received bytes, without those about the stream itself."""
    with (
        client(door.url) as api,
        api.stream("GET", path, params={"from": str(after), **query}, headers=SSE) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        return list(events_of(answer.iter_raw(), until))


def events_of(parts: Iterator[bytes], until: int) -> Iterator[bytes]:
    """Complete frames up to a position, or until `caught-up`."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n\n")
        for frame in whole:
            name = frame.partition(b"event: ")[2].partition(b"\n")[0].decode()
            data: dict[str, Any] = json.loads(frame.partition(b"data: ")[2])
            if name == "caught-up" or data["position"] > until:
                return
            if name not in OURS:
                yield frame


@pytest.mark.parametrize(("path", "query"), STREAMS)
def test_past_events_of_an_edge_equal_those_of_the_server_byte_for_byte(
    fan_out: FanOut, worked: str, path: str, query: dict[str, str]
) -> None:
    with client(fan_out.service.url) as api:
        until = head(api)
    path = path.format(worked)
    truth = raw(fan_out.service, path, 0, until, query)
    assert raw(fan_out.edge, path, 0, until, query) == truth
    assert truth


def test_live_frames_equal_those_of_the_server_over_both_transports_byte_for_byte(
    fan_out: FanOut,
) -> None:
    doors = fan_out.service, fan_out.edge
    with client(fan_out.service.url) as api:
        begin = head(api)
        read: dict[tuple[str, str], list[bytes]] = {}

        def by_sse(name: str, door: Service) -> None:
            read["sse", name] = raw(door, "/executions/watch", begin, end, {"include": "execution"})

        def by_socket(name: str, door: Service) -> None:
            with socket(
                door, "/executions/watch", **{"from": begin, "include": "execution"}
            ) as line:
                found = read["ws", name] = []
                while True:
                    said = line.recv(timeout=30, decode=False)
                    data = json.loads(said)
                    if data["position"] >= end and data["type"] in OURS:
                        return
                    if data["type"] not in OURS and data["position"] <= end:
                        found.append(said)

        work(api)
        end = head(api)
        tasks = [
            Thread(target=task, args=(door.url, door))
            for task in (by_sse, by_socket)
            for door in doors
        ]
        for task in tasks:
            task.start()
        for task in tasks:
            task.join(60)
    server, edge = (door.url for door in doors)
    for transport in ("sse", "ws"):
        assert read[transport, edge] == read[transport, server]
        assert read[transport, edge]


def test_live_frames_of_an_edge_equal_later_reads_of_the_server(fan_out: FanOut) -> None:
    with client(fan_out.service.url) as api, client(fan_out.edge.url) as at_edge:
        begin = head(api)
        found: list[JSON] = []
        with opened(at_edge, "/executions/watch", after=begin) as source:
            read = frames(source)
            assert next(read).type == "caught-up"
            id_ = work(api)
            for frame in read:
                if frame.is_event:
                    found.append({**frame.data, "type": frame.type})
                if frame.type == "completed":
                    break
        assert found == past(fan_out.service, "/executions/watch", **{"from": begin})[: len(found)]
        assert found[-1]["execution"] == id_


def test_answer_has_the_log_id_and_the_position_as_at_the_server(
    fan_out: FanOut, worked: str
) -> None:
    with client(fan_out.service.url) as api:
        position = head(api)
    answers = []
    for door in (fan_out.service, fan_out.edge):
        with client(door.url) as api, opened(api, "/events") as source:
            answers.append(source.response.headers)
            caught_up = until_caught_up(source)[-1]
            assert caught_up.data == {"position": position, "log": answers[-1]["log-id"]}
    names = ("log-id", "log-position", "content-type", "cache-control", "vary", "x-accel-buffering")
    assert [answers[0][name] for name in names] == [answers[1][name] for name in names]
    assert worked


@pytest.mark.parametrize(("path", "query"), BAD)
def test_refusals_of_an_edge_equal_those_of_the_server(
    fan_out: FanOut, path: str, query: dict[str, str]
) -> None:
    said: list[tuple[Any, ...]] = []
    for door in (fan_out.service, fan_out.edge):
        with client(door.url) as api:
            answer = api.get(path, params=query, headers=SSE)
            said.append((answer.status_code, answer.headers["content-type"], answer.json()))
        with pytest.raises(InvalidStatus) as refusal, socket(door, path, **query):
            pass
        body = refusal.value.response.body
        said.append((refusal.value.response.status_code, json.loads(body or b"null")))
    assert said[:2] == said[2:]
    assert 400 <= said[0][0] < 500


@pytest.mark.parametrize("token", [None, "Bearer wrong", "Basic abc", "Bearer exs_cookie"])
def test_stream_needs_a_token_that_the_server_accepts(fan_out: FanOut, token: str | None) -> None:
    headers = SSE | ({} if token is None else {"Authorization": token})
    refused(httpx.get(f"{fan_out.edge.url}/api/events", headers=headers), 401, "unauthenticated")


def test_cookie_is_refused_at_an_edge(fan_out: FanOut) -> None:
    with httpx.Client(base_url=fan_out.service.url) as browser:
        ok(browser.post("/api/session", json={"token": TOKEN}))
        cookies = dict(browser.cookies)
    assert cookies
    headers = SSE | {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    refused(httpx.get(f"{fan_out.edge.url}/api/events", headers=headers), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/executions"),
        ("POST", "/executions/run-1/start"),
        ("POST", "/events"),
        ("GET", "/executions"),
        ("GET", "/executions/run-1"),
        ("GET", "/executions/run-1/events"),
        ("GET", "/executions/run-1/logs"),
        ("GET", "/openapi.json"),
        ("DELETE", "/webhooks/wh-1"),
    ],
)
def test_other_requests_are_refused_with_the_url_of_the_server(
    fan_out: FanOut, method: str, path: str
) -> None:
    with client(fan_out.edge.url) as api:
        problem = refused(api.request(method, path), 421, "streams-only")
    assert problem["url"] == f"{fan_out.service.url}/api{path}"


def test_log_lines_are_refused_at_an_edge(fan_out: FanOut) -> None:
    with client(fan_out.edge.url) as api:
        answer = api.get("/executions/watch", params={"types": "*,log"}, headers=SSE)
        assert "has no log lines" in str(refused(answer, 422, "invalid")["errors"])


@contextmanager
def key(fan_out: FanOut, **of: Any) -> Iterator[tuple[httpx.Client, str]]:
    """A client of an edge with a new key, and the id of the key."""
    with client(fan_out.service.url) as api:
        made = ok(api.post("/keys", json=of))
    with httpx.Client(
        base_url=f"{fan_out.edge.url}/api",
        headers={"Authorization": f"Bearer {made['key']}"},
        timeout=30,
    ) as opened_:
        yield opened_, str(made["$id"])


def positions(api: httpx.Client, path: str = "/events") -> list[int]:
    with opened(api, path, after=0) as source:
        return [frame.data["position"] for frame in until_caught_up(source) if frame.is_event]


def test_party_gets_the_same_events_at_an_edge_as_at_the_server(
    fan_out: FanOut, worked: str
) -> None:
    with client(fan_out.service.url) as api:
        ok(api.post("/users", json={"$id": "rival", "name": "Rival", "kind": "organization"}))
        everything = positions(api)
    for of in (
        {"role": "customer", "party": "acme"},
        {"role": "provider", "party": "outreach"},
        {"role": "assignee", "party": "worker-7", "provider": "outreach"},
    ):
        with key(fan_out, **of) as (at_edge, _):
            token = {"Authorization": at_edge.headers["authorization"]}
            url = f"{fan_out.service.url}/api"
            with httpx.Client(base_url=url, headers=token, timeout=30) as at_server:
                found = positions(at_edge)
                assert found == positions(at_server)
                assert set(found) < set(everything)
    with key(fan_out, role="customer", party="rival") as (rival, _):
        assert positions(rival) == []
        answer = rival.get(f"/executions/{worked}/watch", headers=SSE)
        refused(answer, 404, "not-found")


def test_auditor_is_refused_and_referred_to_the_server(fan_out: FanOut) -> None:
    with key(fan_out, role="auditor", party="ann") as (auditor, _):
        answer = auditor.get("/events", headers=SSE | {"X-Purpose": "yearly"})
        assert "open this stream at the server" in refused(answer, 403, "forbidden")["detail"]


def test_operator_may_read_metrics_and_no_stream(fan_out: FanOut) -> None:
    with key(fan_out, role="operator") as (operator, _):
        refused(operator.get("/events", headers=SSE), 403, "forbidden")
        assert "executions_edge_lag 0.0" in operator.get("/metrics").text
    with key(fan_out, role="customer", party="acme") as (customer, _):
        refused(customer.get("/metrics"), 403, "forbidden")
    refused(httpx.get(f"{fan_out.edge.url}/metrics"), 401, "unauthenticated")


def test_stream_ends_when_its_key_is_revoked(fan_out: FanOut) -> None:
    with (
        key(fan_out, role="customer", party="acme") as (api, id_),
        client(fan_out.service.url) as admin,
        opened(api, "/events") as source,
    ):
        read = frames(source)
        assert next(read).type == "caught-up"
        ok(admin.delete(f"/keys/{id_}"))
        *_, last = read
        assert (last.type, last.data["reason"]) == ("closing", "revoked")
        end = time.monotonic() + 10
        while (answer := api.get("/events", headers=SSE)).status_code != 401:
            assert time.monotonic() < end, "it is let in again"
            assert "revoked" in answer.text  # until the server has applied the revocation, too


def test_content_in_nats_is_encrypted(fan_out: FanOut, worked: str) -> None:
    contents = fan_out.nats.contents()
    assert worked.encode() in contents
    assert b"execution.step.completed" in contents
    assert WORD.encode() not in contents


def test_content_that_is_erased_is_erased_at_an_edge(fan_out: FanOut) -> None:
    word = "Rosebud"
    with client(fan_out.service.url) as api, client(fan_out.edge.url) as at_edge:
        begin = head(api)
        id_ = work(api, word)
        until = head(api)
        before = raw(fan_out.edge, f"/executions/{id_}/events", 0, until, {})
        assert word.encode() in b"".join(before)
        with opened(at_edge, "/events", after=until) as source:
            ok(api.post(f"/executions/{id_}/erase", json={"reason": "Jane asked for it"}))
            assert next(frame for frame in frames(source) if frame.type == "execution.erased")
        until = head(api)
        for path in ("/events", f"/executions/{id_}/events"):
            shown = raw(fan_out.edge, path, begin, until, {})
            assert word.encode() not in b"".join(shown)
            assert b'"erased":true' in b"".join(shown)
            assert shown == raw(fan_out.service, path, begin, until, {})


def test_opening_of_a_stream_is_in_the_access_log_of_the_server(
    fan_out: FanOut, worked: str
) -> None:
    with client(fan_out.edge.url) as at_edge:
        path = f"/executions/{worked}/watch"
        with opened(at_edge, path, after=0, include="execution") as source:
            assert until_caught_up(source)
    with client(fan_out.service.url) as api:
        found = ok(api.get(f"/executions/{worked}/access-log", params={"limit": 100}))["data"]
    assert [
        entry
        for entry in found
        if entry["operation"] == "watchExecution" and "opened" in str(entry)
    ]


def test_seek_over_a_websocket_is_admitted_and_recorded_by_the_server(fan_out: FanOut) -> None:
    ids = {"order": "order-1", "service": "sdr", "status": "running"}
    with client(fan_out.service.url) as api:
        id_ = str(ok(api.post("/executions", json=ids))["$id"])
        with socket(fan_out.edge, f"/executions/{id_}/events", **{"from": "start"}) as line:
            first = json.loads(line.recv(timeout=30))
            line.send(json.dumps({"seek": 0}))
            again = next(
                frame for frame in read_until_closed(line) if frame["type"] == first["type"]
            )
            assert again == first
        found = ok(api.get(f"/executions/{id_}/access-log"))["data"]
    assert [entry["operation"] for entry in found].count("listEvents") == 2


def test_stream_that_has_ended_is_answered_as_by_the_server(fan_out: FanOut, worked: str) -> None:
    with client(fan_out.service.url) as api:
        end = head(api)
    headers = SSE | {"Last-Event-ID": str(end)}
    for door in (fan_out.service, fan_out.edge):
        with client(door.url) as api:
            answer = api.get(f"/executions/{worked}/watch", headers=headers)
            assert answer.status_code == 204
        with socket(door, f"/executions/{worked}/watch", **{"from": end}) as line:
            with pytest.raises(ConnectionClosed) as closed:
                line.recv(timeout=30)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1000


def test_readiness_of_an_edge_has_its_position(fan_out: FanOut) -> None:
    with client(fan_out.service.url) as api, client(fan_out.edge.url) as at_edge:
        position = head(api)
        shown = ok(at_edge.get("/readyz"))
        assert shown["status"] == "ready"
        assert shown["position"] >= position
        assert ok(at_edge.get("/healthz")) == {"status": "ok"}
