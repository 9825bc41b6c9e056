"""The webhooks that events create, and how later events change them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.catalog.webhook import (
    WebhookCreated,
    WebhookDisabled,
    WebhookEnabled,
    WebhookRecovered,
    WebhookSecretRotated,
    WebhookUpdated,
)
from domain.execution.events.creation import ExecutionCreated, ExecutionUpdated
from domain.execution.events.lifecycle import ExecutionErased
from domain.execution.webhook import Webhook
from domain.execution.webhook_url import endpoint
from domain.model import Event, Recorded
from projections.deliveries.hooks import (
    HookRow,
    HookState,
    id_of,
    key_of,
    state_after,
    webhook_of_log,
    webhooks_of_execution,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
URL = "https://A.example:8443/x?key=***"
HOOK = Webhook(id="wh-1", url=URL, events=("failed",))
KEPT = HookRow("e/wh-1", "e", "execution/e", 1, 11, 10, "https://a.example:8443", ["failed"], None)
FRESH = HookState("wh_1", None, 0, None)


def recorded(event: Event, version: int = 1, stream: str = "execution/e", **more: Any) -> Recorded:
    return Recorded(stream, version, 10 + version, NOON, event, "tester", **more)


def of_log(event: Event, version: int = 1) -> Recorded:
    return recorded(event, version, "webhook/wh_1")


def created_event(*hooks: Webhook) -> ExecutionCreated:
    return ExecutionCreated(order="o", service="s", customer="c", provider="p", webhooks=hooks)


def test_creation_adds_webhooks_that_get_its_own_event_too() -> None:
    assert webhooks_of_execution(recorded(created_event(HOOK))) == [KEPT]


def test_update_replaces_webhooks_only_if_it_has_some() -> None:
    assert webhooks_of_execution(recorded(ExecutionUpdated(tags=("eu",)), 2)) is None
    assert webhooks_of_execution(recorded(ExecutionUpdated(webhooks=()), 2)) == []
    [moved] = webhooks_of_execution(recorded(ExecutionUpdated(webhooks=(HOOK,)), 2)) or []
    assert (moved.version, moved.position) == (2, 12)


def test_erasure_ends_webhooks_whose_headers_and_secrets_are_destroyed() -> None:
    assert webhooks_of_execution(recorded(ExecutionErased(reason="asked for"), 2)) == []


@pytest.mark.parametrize(("after", "since"), [(None, 11), (3, 3)])
def test_webhook_of_the_log_gets_events_after_its_creation_or_from_an_earlier_position(
    after: int | None, since: int
) -> None:
    event = WebhookCreated(url=URL, events=("*",), filter={"tag": "eu"}, after=after)
    hook = webhook_of_log(of_log(event))
    assert hook is not None
    assert (hook.webhook, hook.execution, hook.since) == ("wh_1", None, since)
    assert hook.filter == '{"tag":"eu"}'


@pytest.mark.parametrize(
    ("event", "disabled_at"),
    [
        (WebhookDisabled(reason="gone"), 13),
        (WebhookEnabled(), None),
        (WebhookUpdated(url=URL, events=("*",)), None),
        (WebhookRecovered(), 5),
    ],
)
def test_webhook_is_disabled_until_it_is_enabled_or_changed(
    event: Event, disabled_at: int | None
) -> None:
    before = FRESH._replace(disabled_at=5)
    assert state_after(before, of_log(event, 3)).disabled_at == disabled_at


def test_rotation_counts_secrets_and_sets_how_long_both_sign() -> None:
    event = WebhookSecretRotated(generation=2, overlap_until=NOON)
    assert state_after(FRESH, of_log(event)) == HookState("wh_1", None, 2, NOON)


@pytest.mark.parametrize(
    ("webhook", "key"), [("wh-1", "e/wh-1"), ("wh_01JD", "wh_01JD"), ("wh-12", "e/wh-12")]
)
def test_ids_that_were_unique_only_in_their_execution_get_it_as_a_prefix(
    webhook: str, key: str
) -> None:
    assert key_of("e", webhook) == key
    assert id_of(key) == webhook


@pytest.mark.parametrize("url", ["http://[::1", "http://[x]/"])
def test_invalid_url_has_no_endpoint(url: str) -> None:
    assert endpoint(url) == ""
