"""Event names that a webhook may subscribe to, and the events that they match."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from domain.execution.events import EVENTS
from domain.execution.webhook import WebhookPlan
from domain.execution.webhook_events import CHANGES_STATUS, matches, require_known


def test_every_event_has_a_name() -> None:
    assert CHANGES_STATUS.keys() == {event.type for event in EVENTS}


@pytest.mark.parametrize(
    ("pattern", "type_", "matched"),
    [
        ("completed", "execution.completed", True),
        ("execution.completed", "execution.completed", True),
        ("completed", "execution.step.completed", False),
        ("step.*", "execution.step.started", True),
        ("step.*", "execution.steps.added", False),
        ("execution.step.*", "execution.step.skipped", True),
        ("*", "execution.usage", True),
        ("status_changed", "execution.retry", True),
        ("status_changed", "execution.progress", False),
        ("progress", "execution.progress", True),
        ("execution.step.[cs]*", "execution.step.completed", False),  # streams know only `*`, too
    ],
)
def test_name_or_glob_matches_only_its_events(pattern: str, type_: str, matched: bool) -> None:
    assert matches((pattern,), type_) is matched


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [("failed", False), ("status_changed", True), ("execution.failed", True), ("*", True)],
)
def test_failure_that_will_be_retried_does_not_match_failed(pattern: str, matched: bool) -> None:
    assert matches((pattern,), "execution.failed", final=False) is matched
    assert matches((pattern,), "execution.failed", final=True)


@pytest.mark.parametrize("strange", ["complete", "finished", "step", "order.*", "Completed"])
def test_webhook_for_an_unknown_event_is_refused(strange: str) -> None:
    with pytest.raises(ValidationError, match=f"no event is called `{strange}`"):
        WebhookPlan(url="https://a.example", events=("completed", strange))


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [("faild", "failed"), ("status_changd", "status_changed"), ("step.complete", "step.completed")],
)
def test_refusal_of_a_mistyped_name_suggests_the_nearest(mistyped: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"; did you mean `{meant}`.*\?$"):
        require_known((mistyped,))
