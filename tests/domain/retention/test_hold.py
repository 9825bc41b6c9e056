"""A legal hold names one existing subject and a reason, and is released for another reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.catalog.service import Service
from domain.errors import IllegalTransition, Invalid, UnknownReference
from domain.retention.hold import HoldPlaced, HoldReleased, HoldStatus, PlaceHold, ReleaseHold
from tests.support.given import Given, given

SERVICE = Service("s-1", name="Outreach", provider="acme")
PLACED = HoldPlaced(service="s-1", reason="Audit")


def hold(*events: Any) -> Given:
    known = given(*events, stream="hold/h-1").knowing(service__s_1=SERVICE, service__s_2=None)
    return known.knowing(execution__e_1=SERVICE, execution__e_2=SERVICE, execution__e_3=None)


def test_hold_of_a_service_is_active_with_its_reason_and_actor() -> None:
    state = hold().when(PlaceHold(service="s-1", reason="Audit")).then(PLACED).state
    assert (state.status, state.service, state.reason, state.by) == (
        HoldStatus.ACTIVE,
        "s-1",
        "Audit",
        "tester",
    )


def test_hold_of_executions_lists_them() -> None:
    command = PlaceHold(executions=("e-1", "e-2"), reason="Audit")
    hold().when(command).then(HoldPlaced(executions=("e-1", "e-2"), reason="Audit"))


@pytest.mark.parametrize("scope", [{}, {"service": "s-1", "executions": ("e-1",)}])
def test_hold_has_exactly_one_subject(scope: dict[str, Any]) -> None:
    hold().when(PlaceHold(reason="Audit", **scope)).refused(Invalid)


def test_refusal_of_a_hold_with_two_subjects_asks_for_one() -> None:
    command = PlaceHold(reason="Audit", service="s-1", executions=("e-1",))
    outcome = hold().when(command)
    outcome.refused(Invalid)
    assert "one alone" in str(outcome.error)


@pytest.mark.parametrize("scope", [{"service": "s-2"}, {"executions": ("e-1", "e-3")}])
def test_hold_of_a_missing_subject_is_refused(scope: dict[str, Any]) -> None:
    hold().when(PlaceHold(reason="Audit", **scope)).refused(UnknownReference)


def test_released_hold_has_the_reason_and_actor_of_its_release() -> None:
    released = HoldReleased(reason="It is over")
    state = hold(PLACED).when(ReleaseHold(reason="It is over")).then(released).state
    assert (state.status, state.release.reason, state.release.by) == (
        HoldStatus.RELEASED,
        "It is over",
        "tester",
    )
    hold(PLACED, released).when(ReleaseHold(reason="It is over")).then()
    hold(PLACED, released).when(ReleaseHold(reason="Another")).refused(IllegalTransition)


def test_hold_is_not_released_before_it_was_placed() -> None:
    placed = hold(PLACED)
    early = placed.state.at - timedelta(seconds=1)
    placed.when(ReleaseHold(reason="It is over", occurred_at=early)).refused_field("occurredAt")
