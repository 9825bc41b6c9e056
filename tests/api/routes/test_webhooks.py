"""What the service shows of webhooks: their health, and their secrets."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.support.api_client import Executions, ok, refused

HOOK = {"url": "http://127.0.0.1:9/hook", "events": ["paused"], "headers": {"X-Key": "s3cret"}}


@pytest.fixture
def execution(executions: Executions) -> str:
    return executions.running(webhooks=[HOOK, HOOK])


def test_health_stands_with_each_webhook_once_the_view_has_it(
    api: httpx.Client, execution: str
) -> None:
    shown: list[dict[str, object]] = [{}]
    end = time.monotonic() + 30
    while not all("health" in hook for hook in shown):
        assert time.monotonic() < end, shown
        shown = api.get(f"/executions/{execution}/webhooks").json()
    assert [hook["id"] for hook in shown] == ["wh-1", "wh-2"]
    idle = {"state": "idle", "waiting": 0, "givenUp": 0, "attempts": 0}
    assert shown[0]["health"] == idle
    assert shown[0]["headers"] == {"X-Key": "***"}


def test_webhooks_of_the_past_have_no_health(api: httpx.Client, execution: str) -> None:
    answer = api.get(f"/executions/{execution}/webhooks?version=1")
    assert all("health" not in hook for hook in answer.json())
    assert "immutable" in answer.headers["cache-control"]


def test_health_is_sent_whenever_it_is_asked_for(api: httpx.Client, execution: str) -> None:
    first = api.get(f"/executions/{execution}/webhooks")
    again = {"If-None-Match": first.headers["etag"]}
    assert api.get(f"/executions/{execution}/webhooks", headers=again).status_code == 200


def test_webhook_has_a_secret_of_its_own_that_stays(
    api: httpx.Client, executions: Executions, execution: str
) -> None:
    def secret(identity: str, webhook: str) -> str:
        path = f"/executions/{identity}/webhooks/{webhook}/secret"
        return str(ok(api.get(path))["secret"])

    other = executions.running(webhooks=[HOOK])
    first = secret(execution, "wh-1")
    assert len({first, secret(execution, "wh-2"), secret(other, "wh-1")}) == 3
    assert secret(execution, "wh-1") == first
    assert first not in api.get(f"/executions/{execution}").text
    assert first not in api.get(f"/executions/{execution}/events").text


@pytest.mark.parametrize("path", ["/executions/{}/webhooks/wh-3/secret"])
def test_secret_of_a_webhook_that_is_not_there_is_not_found(
    api: httpx.Client, execution: str, path: str
) -> None:
    refused(api.get(path.format(execution)), 404, "not-found")
    refused(api.get(path.format("no-such")), 404, "not-found")


def test_events_that_never_happen_are_refused_by_name(api: httpx.Client, execution: str) -> None:
    hook = {**HOOK, "events": ["completed", "finished"]}
    answer = api.put(f"/executions/{execution}", json={"webhooks": [hook]})
    problem = refused(answer, 422, "invalid")
    assert problem["errors"][0]["path"] == "webhooks.0.events"
