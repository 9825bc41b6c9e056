"""Webhooks of a running service get their events at least once and in order, even if the calling process is killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Any

import httpx
import orjson
import pytest
from standardwebhooks import Webhook as Verifier

from tests.resilience.test_timers import begin, client
from tests.support import webhook_receiver as receivers
from tests.support.service_process import Service, serving
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

SOON = 30
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /stolen\r\nContent-Length: 0\r\n\r\n"
BAD = {
    "/silent": receivers.SILENT,
    "/broken": receivers.BROKEN,
    "/gone": receivers.GONE,
    "/cut": receivers.CUT_IN_HEAD,
    "/redirect": REDIRECT,
}
STRANGE = {
    "/endless": receivers.ENDLESS,
    "/short": receivers.CUT_SHORT,
    "/stalled": receivers.STALLED,
}
DONE = {"success": True, "output": None, "summary": "done"}


@pytest.fixture(scope="module")
def calling() -> Iterator[Service]:
    with serving(EXECUTIONS_WEBHOOK_ALLOW="127.0.0.0/8") as service:
        yield service


@contextmanager
def receiving(**answers: bytes) -> Iterator[WebhookReceiver]:
    """A receiver in a thread of its own."""
    made: list[WebhookReceiver] = []
    started, over = threading.Event(), asyncio.Event()

    async def run() -> None:
        async with webhook_receiver() as receiver:
            receiver.answers.update(answers)
            loops.append(asyncio.get_running_loop())
            made.append(receiver)
            started.set()
            await over.wait()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(run()), name="receiver")
    thread.start()
    assert started.wait(SOON)
    try:
        yield made[0]
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join(SOON)


def hooked(receiver: WebhookReceiver, path: str, *events: str) -> dict[str, Any]:
    return {"webhooks": [{"url": receiver.url(path), "events": events or ["*"]}]}


def health(api: httpx.Client, execution: str) -> dict[str, Any]:
    [hook] = api.get(f"/executions/{execution}/webhooks").json()
    found: dict[str, Any] = hook.get("health", {"state": "not seen yet"})
    return found


def until_state(api: httpx.Client, execution: str, state: str) -> dict[str, Any]:
    end = time.monotonic() + SOON
    while (shown := health(api, execution))["state"] != state:
        assert time.monotonic() < end, shown
        time.sleep(0.05)
    return shown


def test_events_arrive_at_least_once_and_in_order_while_the_calling_process_is_killed(
    calling: Service, thorough: bool
) -> None:
    rng = random.Random(7)
    with receiving(**BAD) as receiver, closing(client(calling)) as api:
        for path in BAD:
            begin(api, **hooked(receiver, path))
        paths = {begin(api, **hooked(receiver, f"/e-{n}")): f"/e-{n}" for n in range(20)}
        for _ in range(10 if thorough else 2):
            for execution in paths:
                api.post(f"/executions/{execution}/progress", json={"progress": rng.random()})
            killed = calling.work_process()
            os.kill(killed, signal.SIGKILL)
            for execution in paths:
                api.post(f"/executions/{execution}/progress", json={"progress": rng.random()})
            calling.work_process(other_than=killed)
        for execution, path in paths.items():
            api.post(f"/executions/{execution}/complete", json=DONE)
            page = api.get(f"/executions/{execution}/events?limit=500").json()
            expected = [event["position"] for event in page["data"]]
            end = time.monotonic() + SOON
            while sorted(set(came := receiver.positions(path))) != expected:
                assert time.monotonic() < end, (came, expected)
                time.sleep(0.05)
            assert came == sorted(came)
        assert "/stolen" not in {call.path for call in receiver.calls}
    verified = calling.verify()
    assert verified.returncode == 0, verified.stdout


def test_status_of_misbehaving_receivers_is_shown(calling: Service) -> None:
    bad = {path: answer for path, answer in BAD.items() if path != "/silent"}
    with receiving(**bad, **STRANGE) as receiver, closing(client(calling)) as api:
        hooks = {path: begin(api, **hooked(receiver, path, "created")) for path in (*bad, *STRANGE)}
        broken = until_state(api, hooks["/broken"], "failing")
        assert (broken["lastStatus"], broken["lastAnswer"]) == (500, "broken")
        assert broken["waiting"] == 1
        assert until_state(api, hooks["/redirect"], "failing")["lastStatus"] == 302
        assert "lastStatus" not in until_state(api, hooks["/cut"], "failing")
        assert until_state(api, hooks["/gone"], "disabled")["lastStatus"] == 410
        for path in STRANGE:
            assert until_state(api, hooks[path], "delivered")["waiting"] == 0


def test_receiver_verifies_a_call_with_the_secret_that_the_service_shows(
    calling: Service,
) -> None:
    with receiving() as receiver, closing(client(calling)) as api:
        execution = begin(api, **hooked(receiver, "/signed", "created"))
        until_state(api, execution, "delivered")
        [hook] = api.get(f"/executions/{execution}/webhooks").json()
        secret = api.post(f"/webhooks/{hook['id']}/rotate", json={"overlap": 0}).json()["secret"]
        receiver.calls.clear()
        api.post(f"/webhooks/{hook['id']}/rewind", json={"from": "start"})
        until_state(api, execution, "delivered")
        wait_until(lambda: receiver.calls)
        [call] = receiver.calls
        assert Verifier(secret).verify(call.body, call.headers)["subject"] == execution


def test_webhooks_of_the_reference_get_their_events_with_their_headers(
    calling: Service,
) -> None:
    """Its example 11, with receivers on this machine."""
    headers = {"Authorization": "Bearer token123", "X-Webhook-Secret": "secret456"}
    with receiving() as receiver, closing(client(calling)) as api:
        first = {
            "url": receiver.url("/webhooks/execution"),
            "events": ["status_changed", "completed", "failed"],
            "headers": headers,
        }
        second = {"url": receiver.url("/api/webhooks/abc123"), "events": ["completed", "failed"]}
        execution = begin(api, status="queued", webhooks=[first, second])
        api.post(f"/executions/{execution}/start")
        api.post(f"/executions/{execution}/progress", json={"progress": 40})
        api.post(f"/executions/{execution}/complete", json=DONE)
        wait_until(lambda: len(receiver.calls) == 5)
        paths = ("/webhooks/execution", "/api/webhooks/abc123")
        came: dict[str, list[str]] = {path: [] for path in paths}
        for call in receiver.calls:
            came[call.path].append(orjson.loads(call.body)["type"])
        assert came == {
            "/webhooks/execution": [
                *("execution.created", "execution.starting"),
                *("execution.started", "execution.completed"),
            ],
            "/api/webhooks/abc123": ["execution.completed"],
        }
        for call in receiver.calls:
            sent = call.headers.get("authorization"), call.headers.get("x-webhook-secret")
            known = call.path == "/webhooks/execution"
            assert sent == (tuple(headers.values()) if known else (None, None))
        shown = api.get(f"/executions/{execution}").json()["webhooks"]
        assert shown[0]["headers"] == dict.fromkeys(headers, "***")


def test_loopback_is_refused_unless_the_setting_allows_it() -> None:
    with (
        receiving() as receiver,
        serving(EXECUTIONS_WEBHOOK_ALLOW="10.0.0.0/8") as service,
        closing(client(service)) as api,
    ):
        hook = {"url": receiver.url("/hook"), "events": ["*"]}
        answer = api.post("/webhooks", json=hook)
        assert answer.status_code == 422
        assert "(loopback): EXECUTIONS_WEBHOOK_ALLOW" in answer.json()["detail"]
        assert receiver.calls == []


def test_webhook_of_the_log_gets_each_stream_in_order_while_the_calling_process_is_killed(
    calling: Service, thorough: bool
) -> None:
    rng = random.Random(8)
    with receiving(**BAD) as receiver, closing(client(calling)) as api:
        for path in ("/silent", "/broken", "/cut"):
            api.post("/webhooks", json={"url": receiver.url(path), "events": ["*"]})
        begun = api.post("/webhooks", json={"url": receiver.url("/log"), "events": ["execution.*"]})
        after = begun.json()["position"]
        running = [begin(api) for _ in range(10)]
        for _ in range(100 if thorough else 2):
            time.sleep(rng.random() * 0.5)
            killed = calling.work_process()
            os.kill(killed, signal.SIGKILL)
            for execution in running:
                api.post(f"/executions/{execution}/progress", json={"progress": rng.random()})
            calling.work_process(other_than=killed)
        expected = {
            execution: [event["position"] for event in page["data"] if event["position"] > after]
            for execution in running
            for page in (api.get(f"/executions/{execution}/events?limit=500").json(),)
        }
        wanted = {p for s in expected.values() for p in s}
        # All share one endpoint, which gets one call at a time while it leaves a call unanswered.
        wait_until(lambda: set(receiver.positions("/log")) >= wanted, len(wanted) + SOON)
        for execution, positions in expected.items():
            came = [p for p in receiver.positions("/log") if p in positions]
            first = list(dict.fromkeys(came))
            assert first == positions, execution
            assert all(b >= a for a, b in pairwise(came)), came
