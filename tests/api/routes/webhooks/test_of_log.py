"""Webhooks of the whole log: create, show, change, send again, and remove."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.support.api_client import Executions, ok, recorded_event, refused

URL = "http://127.0.0.1:9/hook?key=s3cret"
HOOK: dict[str, Any] = {"url": URL, "events": ["completed"], "headers": {"X-Key": "s3cret"}}


@pytest.fixture
def webhook(api: httpx.Client) -> str:
    """A new webhook, which lists show already."""
    created = api.post("/webhooks", json=HOOK)
    seen = {"limit": 1, "minPosition": int(created.headers["log-position"])}
    ok(api.get("/webhooks", params=seen))
    return str(ok(created)["$id"])


def deliveries(api: httpx.Client, webhook: str, count: int) -> list[dict[str, Any]]:
    """The deliveries of a webhook, once there are so many."""
    end = time.monotonic() + 30
    while len(found := ok(api.get(f"/webhooks/{webhook}/deliveries"))["data"]) < count:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return list(found)


def test_secret_is_shown_once_and_again_to_the_same_request(api: httpx.Client) -> None:
    once = {"Idempotency-Key": "hook-1"}
    made = ok(api.post("/webhooks", json=HOOK, headers=once))
    assert made["secret"].startswith("whsec_")
    assert ok(api.post("/webhooks", json=HOOK, headers=once)) == made
    shown = api.get(f"/webhooks/{made['$id']}").text
    assert "whsec_" not in shown
    assert "s3cret" not in shown
    assert "s3cret" not in recorded_event(api, made["position"])


def test_rotation_shows_the_new_secret_and_until_when_both_sign(
    api: httpx.Client, webhook: str
) -> None:
    answers = [ok(api.post(f"/webhooks/{webhook}/rotate", json={})) for _ in range(2)]
    assert len({answer["secret"] for answer in answers}) == 2
    assert answers[0]["secretOverlapUntil"] < answers[1]["secretOverlapUntil"]


def test_settings_that_are_left_out_or_masked_are_unchanged(
    api: httpx.Client, webhook: str
) -> None:
    shown = ok(api.get(f"/webhooks/{webhook}"))
    assert (shown["url"], shown["headers"]) == ("http://127.0.0.1:9/hook?key=***", {"X-Key": "***"})
    sent = {"url": shown["url"], "headers": shown["headers"], "events": ["order.*", "failed"]}
    changed = ok(api.patch(f"/webhooks/{webhook}", json=sent))
    assert (changed["url"], changed["events"]) == (shown["url"], ["order.*", "failed"])
    filtered = ok(api.patch(f"/webhooks/{webhook}", json={"filter": {"tag": "eu"}}))
    assert filtered["filter"] == {"tag": "eu"}
    assert "filter" not in ok(api.patch(f"/webhooks/{webhook}", json={"filter": None}))


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://a:99999/"}, "url"),
        ({"url": "http://***@127.0.0.1/"}, "url"),
        ({"url": "http://127.0.0.2:9/", "headers": {"X-Key": "***"}}, "headers.X-Key"),
        ({"events": ["finished"]}, "events"),
        ({"filter": {"colour": "red"}}, "filter.colour"),
        ({"filter": {"status": "done"}}, "filter.status"),
    ],
)
def test_invalid_member_is_refused_with_its_name(
    api: httpx.Client, webhook: str, changed: dict[str, Any], path: str
) -> None:
    answers = [api.patch(f"/webhooks/{webhook}", json=changed)]
    answers.append(api.post("/webhooks", json={"url": "http://127.0.0.2:9/", **changed}))
    for answer in answers:
        assert refused(answer, 422, "invalid")["errors"][0]["path"] == path


@pytest.mark.parametrize("begins", ["soon", "99999999", "2026-13-01T00:00:00Z", True, [1]])
def test_invalid_beginning_is_refused_with_its_name(api: httpx.Client, begins: object) -> None:
    problem = refused(api.post("/webhooks", json={**HOOK, "from": begins}), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == ["from"]


def test_removed_webhook_is_not_found_and_not_listed(api: httpx.Client, webhook: str) -> None:
    assert ok(api.delete(f"/webhooks/{webhook}"))["status"] == "removed"
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/rotate"),
        ("POST", "/enable"),
        ("POST", "/test"),
        ("GET", "/deliveries"),
    ):
        body: dict[str, Any] | None = {} if method in {"PATCH", "POST"} else None
        answer = api.request(method, f"/webhooks/{webhook}{path}", json=body)
        refused(answer, 404, "not-found")
    listed = ok(api.get("/webhooks?limit=500"))["data"]
    assert webhook not in {hook["$id"] for hook in listed}


def test_list_of_webhooks_has_pages(api: httpx.Client, webhook: str) -> None:
    ok(api.post("/webhooks", json=HOOK))
    found: list[str] = []
    more: dict[str, Any] = {}
    while more.get("cursor", "") is not None:
        page = ok(api.get("/webhooks", params={"limit": 1, **more}))
        found += [hook["$id"] for hook in page["data"]]
        more = {"cursor": page["nextCursor"]}
    assert webhook in found
    assert found == sorted(set(found))


def test_disabled_webhook_is_called_again_once_it_is_enabled_or_changed(
    api: httpx.Client, webhook: str
) -> None:
    disabled = ok(api.post(f"/webhooks/{webhook}/disable", json={}))
    assert (disabled["status"], disabled["disabledBecause"]) == ("disabled", "asked")
    assert ok(api.post(f"/webhooks/{webhook}/enable", json={}))["status"] == "active"
    api.post(f"/webhooks/{webhook}/disable", json={})
    assert ok(api.patch(f"/webhooks/{webhook}", json={}))["status"] == "active"


def test_answer_of_the_test_action_has_the_status_of_the_receiver(
    api: httpx.Client, webhook: str
) -> None:
    tested = ok(api.post(f"/webhooks/{webhook}/test"))
    assert tested["delivered"] is False
    assert "Connect" in tested["error"]


def test_delivery_shows_its_last_call_and_can_be_sent_again(
    api: httpx.Client, webhook: str, executions: Executions
) -> None:
    path = f"/webhooks/{webhook}"
    time.sleep(0.5)
    execution = executions.running()
    executions.tell(execution, "complete", success=True, output=None, summary="s")
    [delivery] = deliveries(api, webhook, 1)
    assert (delivery["source"], delivery["version"]) == (f"/api/executions/{execution}", 4)
    again = api.post(f"{path}/deliveries/{delivery['position']}/redeliver")
    assert (again.status_code, again.json()) == (202, {"redelivered": 1})
    refused(api.post(f"{path}/deliveries/1/redeliver"), 404, "not-found")
    refused(api.post(f"{path}/deliveries/x/redeliver"), 404, "not-found")
    failed = api.post(f"{path}/redeliver", json={"since": "2026-01-01T00:00:00Z"})
    assert (failed.status_code, failed.json()) == (202, {"redelivered": 0})
    assert ok(api.get(f"{path}/deliveries?state=delivered"))["data"] == []
    assert ok(api.get(f"{path}/deliveries?cursor={delivery['position']}"))["data"] == []


def test_rewound_webhook_gets_past_events(
    api: httpx.Client, webhook: str, executions: Executions
) -> None:
    ok(api.patch(f"/webhooks/{webhook}", json={"events": ["user.created"]}))
    answer = api.post(f"/webhooks/{webhook}/rewind", json={"from": "start"})
    assert (answer.status_code, answer.json()) == (202, {"from": 0})
    assert deliveries(api, webhook, 1)[-1]["source"].startswith("/api/users/")


def test_webhook_of_an_execution_can_only_be_changed_with_its_execution(
    api: httpx.Client, executions: Executions
) -> None:
    execution = executions.running(webhooks=[{**HOOK, "events": ["*"]}])
    [hook] = api.get(f"/executions/{execution}/webhooks").json()
    path = f"/webhooks/{hook['id']}"
    deliveries(api, hook["id"], 1)
    assert ok(api.get(path))["execution"] == execution
    assert ok(api.post(f"{path}/rotate", json={}))["secret"].startswith("whsec_")
    for answer in (api.patch(path, json={"events": ["failed"]}), api.delete(path)):
        assert execution in refused(answer, 409, "illegal-transition")["detail"]
    assert api.post(f"{path}/rewind", json={"from": "start"}).status_code == 202
    assert ok(api.post(f"{path}/test"))["delivered"] is False
