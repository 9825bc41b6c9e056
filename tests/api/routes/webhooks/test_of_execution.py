"""Webhooks of an execution: their health is shown, and their secrets only once."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.support.api_client import Catalog, Executions, ok, refused
from tests.support.waiting import wait_until

HOOK = {"url": "http://127.0.0.1:9/hook", "events": ["paused"], "headers": {"X-Key": "s3cret"}}


@pytest.fixture
def execution(executions: Executions) -> str:
    return executions.running(webhooks=[HOOK, HOOK])


def hook_ids(api: httpx.Client, execution: str) -> list[str]:
    return [hook["id"] for hook in api.get(f"/executions/{execution}/webhooks").json()]


def test_health_of_each_webhook_is_shown_once_the_view_has_it(
    api: httpx.Client, execution: str
) -> None:
    shown: list[dict[str, object]] = [{}]
    end = time.monotonic() + 30
    while not all("health" in hook for hook in shown):
        assert time.monotonic() < end, shown
        shown = api.get(f"/executions/{execution}/webhooks").json()
    assert len({hook["id"] for hook in shown}) == 2
    idle = {"state": "idle", "waiting": 0, "givenUp": 0, "attempts": 0}
    assert shown[0]["health"] == idle
    assert shown[0]["headers"] == {"X-Key": "***"}


def test_webhooks_of_the_past_have_no_health(api: httpx.Client, execution: str) -> None:
    answer = api.get(f"/executions/{execution}/webhooks?version=1")
    assert all("health" not in hook for hook in answer.json())
    assert "immutable" in answer.headers["cache-control"]


def test_webhooks_with_the_same_etag_have_the_same_health(
    api: httpx.Client, execution: str
) -> None:
    path = f"/executions/{execution}/webhooks"
    bodies: dict[str, set[str]] = {}

    def is_known() -> bool:
        answer = api.get(path)
        bodies.setdefault(answer.headers["etag"], set()).add(answer.text)
        again = {"If-None-Match": answer.headers["etag"]}
        return api.get(path, headers=again).status_code == 304

    wait_until(is_known)  # a call of the webhook may have changed it
    assert all(len(shown) == 1 for shown in bodies.values())
    assert api.get(f"{path}?version=1").headers["etag"] not in bodies


def test_webhook_by_its_id_is_not_sent_again_where_its_health_is_the_same(
    api: httpx.Client, execution: str
) -> None:
    made = ok(api.post("/webhooks", json={"url": HOOK["url"], "events": ["user.created"]}))
    path = f"/webhooks/{made['$id']}"

    def is_known() -> bool:
        again = {"If-None-Match": api.get(path).headers["etag"]}
        return api.get(path, headers=again).status_code == 304

    wait_until(is_known)  # a call of the webhook may have changed it


def test_secret_of_a_webhook_is_shown_when_it_is_made_and_never_again(
    api: httpx.Client, executions: Executions, execution: str
) -> None:
    once = {"Idempotency-Key": "with-secrets"}
    plan = {"webhooks": [HOOK, {**HOOK, "id": hook_ids(api, execution)[0]}]}
    url = f"/executions/{execution}"
    made, kept = ok(api.put(url, json=plan, headers=once))["webhooks"]
    assert made["secret"].startswith("whsec_")
    assert "secret" not in kept
    assert ok(api.put(url, json=plan, headers=once))["webhooks"][0] == made
    for path in (url, f"{url}/webhooks", f"{url}/events", f"/webhooks/{made['id']}"):
        assert "whsec_" not in api.get(path).text


def test_webhooks_have_different_secrets(api: httpx.Client, catalog: Catalog) -> None:
    body = {"order": catalog.order, "service": catalog.service, "webhooks": [HOOK, HOOK]}
    created = [ok(api.post("/executions", json=body)) for _ in range(2)]
    assert len({hook["secret"] for each in created for hook in each["webhooks"]}) == 4


def test_url_is_shown_without_parts_that_may_be_secret(
    api: httpx.Client, executions: Executions
) -> None:
    secret = "http://me:pw@127.0.0.1:9/T0/k3yk3yk3yk3yk3yk3yk3yk3y?key=t0k3n"
    execution = executions.running(webhooks=[{**HOOK, "url": secret}])
    shown = "http://***@127.0.0.1:9/T0/***?key=***"
    assert api.get(f"/executions/{execution}/webhooks").json()[0]["url"] == shown
    for path in ("", "/webhooks", "/events"):
        text = api.get(f"/executions/{execution}{path}").text
        assert not any(word in text for word in ("pw@", "k3yk3y", "t0k3n"))


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://10.0.0.1/", "private"),
        ("http://169.254.169.254/latest", "metadata service"),
        ("http://[::ffff:192.168.0.1]/", "private"),
        ("http://[64:ff9b::7f00:1]/", "NAT64"),
        ("http://100.64.1.1/", "carrier-grade NAT"),
        ("http://[fe80::1]/", "link-local"),
    ],
)
def test_webhook_to_a_forbidden_address_is_refused(
    api: httpx.Client, catalog: Catalog, execution: str, url: str, rule: str
) -> None:
    hook = {"url": url, "events": ["*"]}
    body = {"order": catalog.order, "service": catalog.service, "webhooks": [HOOK, hook]}
    changed = {"webhooks": [HOOK, hook]}
    for answer in (
        api.post("/executions", json=body),
        api.put(f"/executions/{execution}", json=changed),
    ):
        [error] = refused(answer, 422, "invalid")["errors"]
        assert error["path"] == "webhooks.1.url"
        assert f"({rule})" in error["message"]
        assert "EXECUTIONS_WEBHOOK_ALLOW" in error["message"]
    command = {"command": "update", "execution": execution, **changed}
    [outcome] = api.post("/commands", json=[command]).json()
    assert outcome["problem"]["errors"][0]["path"] == "webhooks.1.url"


def test_unknown_events_are_refused_with_their_names(api: httpx.Client, execution: str) -> None:
    hook = {**HOOK, "events": ["completed", "finished"]}
    answer = api.put(f"/executions/{execution}", json={"webhooks": [hook]})
    problem = refused(answer, 422, "invalid")
    assert problem["errors"][0]["path"] == "webhooks.0.events"
