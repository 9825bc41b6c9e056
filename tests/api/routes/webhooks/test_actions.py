"""Actions on webhooks: enable, test, rewind, and send again; refusals while a webhook is disabled; signatures."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import httpx
import pytest
from anyio import to_thread
from standardwebhooks import Webhook as Verifier

from tests.support.api_client import Executions, ok, refused
from tests.support.webhook_receiver import webhook_receiver

URL = "http://127.0.0.1:9/hook"
SINCE = {"since": "2026-01-01T00:00:00Z"}
CALLS: tuple[tuple[str, dict[str, Any] | None], ...] = (
    ("/deliveries/1/redeliver", None),
    ("/redeliver", SINCE),
    ("/rewind", {"from": "start"}),
)


@pytest.fixture
def webhook(api: httpx.Client) -> str:
    return str(ok(api.post("/webhooks", json={"url": URL, "events": ["completed"]}))["$id"])


def wait_for_call(api: httpx.Client, webhook: str) -> list[dict[str, Any]]:
    """Wait for a call of the webhook; return its deliveries."""
    end = time.monotonic() + 30
    while True:
        found = ok(api.get(f"/webhooks/{webhook}/deliveries"))["data"]
        if any(delivery["attempts"] for delivery in found):
            return list(found)
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_action_on_a_disabled_webhook_is_refused_until_it_is_enabled(
    api: httpx.Client, webhook: str, path: str, body: dict[str, Any] | None
) -> None:
    ok(api.post(f"/webhooks/{webhook}/disable", json={}))
    problem = refused(api.post(f"/webhooks/{webhook}{path}", json=body), 409, "illegal-transition")
    assert "enable it first" in problem["detail"]
    assert problem["currentStatus"] == "disabled"
    assert problem["allowedCommands"] == ["enableWebhook"]


def test_delivery_of_a_disabled_webhook_is_unchanged(
    api: httpx.Client, executions: Executions
) -> None:
    hook = {"url": URL, "events": ["started"]}
    execution = executions.running(webhooks=[hook])
    [shown] = api.get(f"/executions/{execution}/webhooks").json()
    path = f"/webhooks/{shown['id']}"
    [before] = wait_for_call(api, shown["id"])
    ok(api.post(f"{path}/disable", json={}))
    for call, body in CALLS:
        refused(api.post(f"{path}{call}", json=body), 409, "illegal-transition")
    [after] = ok(api.get(f"{path}/deliveries"))["data"]
    assert (after["position"], after["attempts"]) == (before["position"], 1)


def test_disabled_webhook_of_an_execution_is_called_again_after_it_is_replaced(
    api: httpx.Client, executions: Executions
) -> None:
    hook = {"url": URL, "events": ["started"]}
    execution = executions.running(webhooks=[hook])
    [shown] = api.get(f"/executions/{execution}/webhooks").json()
    path = f"/webhooks/{shown['id']}"
    ok(api.post(f"{path}/disable", json={}))
    refused(api.post(f"{path}/rewind", json={"from": "start"}), 409, "illegal-transition")
    changed = [{**hook, "id": shown["id"], "events": ["paused"]}]
    ok(api.put(f"/executions/{execution}", json={"webhooks": changed}))
    assert api.post(f"{path}/rewind", json={"from": "start"}).status_code == 202
    assert ok(api.get(path))["status"] == "active"
    ok(api.post(f"{path}/disable", json={}))
    assert ok(api.get(path))["status"] == "disabled"
    refused(api.post(f"{path}/rewind", json={"from": "start"}), 409, "illegal-transition")


@pytest.mark.anyio
@pytest.mark.parametrize("of_execution", [False, True])
async def test_disabled_webhook_can_be_tested_and_stays_disabled(
    api: httpx.Client, executions: Executions, of_execution: bool
) -> None:
    async with webhook_receiver() as receiver:
        hook = {"url": receiver.url("/hook"), "events": ["cancelled"]}

        def call_test() -> tuple[bool, str]:
            if of_execution:
                execution = executions.running(webhooks=[hook])
                [made] = api.get(f"/executions/{execution}/webhooks").json()
            else:
                made = ok(api.post("/webhooks", json=hook))
            path = f"/webhooks/{made.get('$id') or made['id']}"
            ok(api.post(f"{path}/disable", json={}))
            return ok(api.post(f"{path}/test"))["delivered"], ok(api.get(path))["status"]

        assert await to_thread.run_sync(call_test) == (True, "disabled")
        assert [b"webhook.test" in call.body for call in receiver.calls] == [True]


@pytest.mark.anyio
async def test_call_of_the_test_action_is_signed_by_both_secrets_during_a_rotation(
    api: httpx.Client,
) -> None:
    async def post(path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        return await to_thread.run_sync(partial(api.post, path, json=body))

    async with webhook_receiver() as receiver:
        made = ok(await post("/webhooks", {"url": receiver.url()}))
        path = f"/webhooks/{made['$id']}"
        rotated = ok(await post(f"{path}/rotate", {}))
        assert ok(await post(f"{path}/test"))["delivered"] is True
        tests = [call for call in receiver.calls if b"webhook.test" in call.body]
    [call] = tests
    for secret in (made["secret"], rotated["secret"]):
        assert Verifier(secret).verify(call.body, call.headers)["type"] == "webhook.test"
    assert "x-webhook-signature-previous" in call.headers


@pytest.mark.parametrize("begins", ["soon", "now", 2**40, "2026-13-01T00:00:00Z", True, ["1"]])
def test_rewind_to_an_invalid_beginning_is_refused_with_the_name_of_the_field(
    api: httpx.Client, webhook: str, begins: object
) -> None:
    answer = api.post(f"/webhooks/{webhook}/rewind", json={"from": begins})
    [error] = refused(answer, 422, "invalid")["errors"]
    assert error["path"] == "from"
