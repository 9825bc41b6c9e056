"""A webhook that was read may be sent back whole, with the members of the server unchanged."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from domain.execution.webhook import RESERVED
from tests.support.api_client import Executions, ok, recorded_event, refused

URL = "http://127.0.0.1:9/hook?key=s3cret"
HOOK: dict[str, Any] = {
    "url": URL,
    "events": ["completed"],
    "headers": {"X-Key": "s3cret"},
    "filter": {"tag": "eu"},
}


@pytest.fixture
def webhook(api: httpx.Client) -> str:
    return str(ok(api.post("/webhooks", json=HOOK))["$id"])


def test_webhook_that_is_sent_back_as_it_was_read_is_unchanged(
    api: httpx.Client, webhook: str
) -> None:
    shown = ok(api.get(f"/webhooks/{webhook}"))
    assert ok(api.patch(f"/webhooks/{webhook}", json=shown))["version"] == shown["version"]
    changed = {**shown, "events": ["failed"]}
    after = ok(api.patch(f"/webhooks/{webhook}", json=changed))
    assert (after["events"], after["filter"]) == (["failed"], {"tag": "eu"})
    assert after["version"] == shown["version"] + 1


def test_webhook_as_answered_at_its_creation_may_be_sent_back_with_its_secret(
    api: httpx.Client,
) -> None:
    made = ok(api.post("/webhooks", json=HOOK))
    changed = {**made, "filter": None}
    assert "filter" not in ok(api.patch(f"/webhooks/{made['$id']}", json=changed))


@pytest.mark.parametrize(
    ("name", "value"),
    [("version", 7), ("status", "disabled"), ("$type", "Service"), ("disabledBecause", "gone")],
)
def test_changed_member_of_the_server_is_refused_with_its_name(
    api: httpx.Client, webhook: str, name: str, value: object
) -> None:
    shown = ok(api.get(f"/webhooks/{webhook}"))
    answer = api.patch(f"/webhooks/{webhook}", json={**shown, name: value})
    [error] = refused(answer, 422, "read-only")["errors"]
    assert error["path"] == name


def test_unknown_member_is_refused_also_in_a_whole_document(
    api: httpx.Client, webhook: str
) -> None:
    shown = ok(api.get(f"/webhooks/{webhook}"))
    answer = api.patch(f"/webhooks/{webhook}", json={**shown, "colour": "red"})
    assert refused(answer, 422, "invalid")["errors"][0]["path"] == "colour"


@pytest.mark.parametrize("name", [*sorted(RESERVED), "Host", "X-Webhook-Signature"])
def test_header_that_the_service_sets_is_refused_with_its_name(
    api: httpx.Client, webhook: str, name: str
) -> None:
    hook = {**HOOK, "headers": {name: "x"}}
    for answer in (
        api.post("/webhooks", json=hook),
        api.patch(f"/webhooks/{webhook}", json={"headers": {name: "x"}}),
    ):
        [error] = refused(answer, 422, "invalid")["errors"]
        assert error["path"] == f"headers.{name}"
        assert "cannot be set" in error["message"]


def test_header_that_the_service_sets_is_refused_for_webhooks_of_executions(
    api: httpx.Client, executions: Executions
) -> None:
    execution = executions.running()
    hook = {"url": URL, "events": ["*"], "headers": {"Host": "x"}}
    answer = api.put(f"/executions/{execution}", json={"webhooks": [hook]})
    [error] = refused(answer, 422, "invalid")["errors"]
    assert error["path"] == "webhooks.0.headers.Host"


def test_event_of_a_webhook_does_not_show_the_whole_url(api: httpx.Client) -> None:
    tried = ok(api.post("/webhooks?dryRun=true", json=HOOK))
    made = ok(api.post("/webhooks", json=HOOK))
    for text in (str(tried["events"]), recorded_event(api, made["position"])):
        assert "fullUrl" not in text
        assert "http://127.0.0.1:9/hook?key=***" in text
