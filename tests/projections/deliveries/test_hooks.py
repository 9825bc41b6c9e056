"""Which webhooks an execution has after an event, and what they are owed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.execution.events import ExecutionCreated, ExecutionFailed, ExecutionUpdated
from domain.execution.types import ExecutionError, Webhook
from domain.model import Event, Recorded
from projections.deliveries.hooks import IMPORTED, Hook, endpoint, hooks_after, owed

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOOK = Webhook(id="wh-1", url="https://me:secret@A.example:8443/x?key=1", events=("failed",))
KEPT = Hook("e", "wh-1", 1, "https://a.example:8443", ("failed",))


def recorded(event: Event, version: int = 1, **more: Any) -> Recorded:
    return Recorded("execution/e", version, 10 + version, NOON, event, "tester", **more)


def created(*hooks: Webhook) -> ExecutionCreated:
    return ExecutionCreated(order="o", service="s", customer="c", provider="p", webhooks=hooks)


def failure(*, final: bool) -> ExecutionFailed:
    error = ExecutionError(code="SMTP", message="No answer")
    return ExecutionFailed(error=error, final=final, will_retry=not final)


def test_creation_sets_webhooks_without_what_is_secret_in_their_urls() -> None:
    assert hooks_after((), recorded(created(HOOK))) == (KEPT,)


def test_update_replaces_webhooks_where_it_names_them_alone() -> None:
    assert hooks_after((KEPT,), recorded(ExecutionUpdated(tags=("eu",)), 2)) == (KEPT,)
    assert hooks_after((KEPT,), recorded(ExecutionUpdated(webhooks=()), 2)) == ()
    moved = ExecutionUpdated(webhooks=(HOOK,))
    assert hooks_after((KEPT,), recorded(moved, 2)) == (KEPT._replace(version=2),)


@pytest.mark.parametrize(("final", "count"), [(True, 1), (False, 0)])
def test_failure_is_owed_to_those_who_ask_for_failed_when_it_is_final(
    final: bool, count: int
) -> None:
    assert len(owed([KEPT], recorded(failure(final=final), 4))) == count


@pytest.mark.parametrize(("late", "count"), [(IMPORTED, 1), (IMPORTED + timedelta(seconds=1), 0)])
def test_event_recorded_more_than_a_day_late_is_owed_to_nobody(late: timedelta, count: int) -> None:
    assert len(owed([KEPT], recorded(failure(final=True), 4, occurred_at=NOON - late))) == count


@pytest.mark.parametrize("url", ["http://[::1", "http://[x]/"])
def test_url_that_is_none_has_no_endpoint(url: str) -> None:
    assert endpoint(url) == ""
