"""A grant names one existing subject, reaches no more than its maker, and ends when it expires or is revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.access.grant import (
    MOST_OPEN,
    CreateGrant,
    Grant,
    GrantCreated,
    GrantRevoked,
    RevokeGrant,
    TooManyGrants,
)
from domain.catalog.service import Service
from domain.errors import Invalid, NotFound, UnknownReference
from tests.support.given import NOON, Given, given

SERVICE = Service("s-1", name="Outreach", provider="acme")
LATER = NOON + timedelta(days=1)
COMMON_MEMBERS: dict[str, Any] = {"auditor": "ann", "purpose": "Audit", "expires_at": LATER}
CREATED = GrantCreated(
    service="s-1", within={"customer": {"$in": ["c"]}}, customer="c", **COMMON_MEMBERS
)


def grant(*events: Any) -> Given:
    known = given(*events, stream="grant/g-1").knowing(service__s_1=SERVICE, service__s_2=None)
    return known.knowing(execution__e_1=SERVICE, execution__e_2=None, order__o_1=None)


def test_grant_stores_its_subject_and_the_reach_of_its_maker() -> None:
    command = CreateGrant(
        service="s-1", within={"customer": {"$in": ["c"]}}, customer="c", **COMMON_MEMBERS
    )
    state: Grant = grant().when(command).then(CREATED).state
    assert (state.service, state.within, state.by) == (
        "s-1",
        {"customer": {"$in": ["c"]}},
        "tester",
    )
    assert state.parties == CREATED.parties == ("c", None)


@pytest.mark.parametrize("named", [{}, {"service": "s-1", "executions": ("e-1",)}])
def test_grant_names_exactly_one_subject(named: dict[str, Any]) -> None:
    grant().when(CreateGrant(**named, **COMMON_MEMBERS)).refused(Invalid)


@pytest.mark.parametrize(
    "named", [{"service": "s-2"}, {"executions": ("e-1", "e-2")}, {"order": "o-1"}]
)
def test_grant_of_a_missing_subject_is_refused(named: dict[str, Any]) -> None:
    grant().when(CreateGrant(**named, **COMMON_MEMBERS)).refused(UnknownReference)


def test_grant_by_filter_may_cover_all_that_its_maker_reaches() -> None:
    grant().when(CreateGrant(filter={}, **COMMON_MEMBERS)).then(
        GrantCreated(filter={}, **COMMON_MEMBERS)
    )


def test_grant_beyond_the_limit_of_its_maker_is_refused() -> None:
    one_more = CreateGrant(service="s-1", open_before=MOST_OPEN - 1, **COMMON_MEMBERS)
    grant().when(one_more).then(GrantCreated(service="s-1", **COMMON_MEMBERS))
    beyond = CreateGrant(service="s-1", open_before=MOST_OPEN, **COMMON_MEMBERS)
    grant().when(beyond).refused(TooManyGrants, limit=MOST_OPEN)


@pytest.mark.parametrize("late", [timedelta(), timedelta(seconds=-1)])
def test_grant_that_has_expired_already_is_refused(late: timedelta) -> None:
    command = CreateGrant(service="s-1", **{**COMMON_MEMBERS, "expires_at": NOON + late})
    outcome = grant().when(command)
    outcome.refused(Invalid)
    assert "expiresAt" in str(outcome.error)


def test_grant_is_live_until_it_expires() -> None:
    state: Grant = grant(CREATED).state
    assert state.is_live(LATER - timedelta(milliseconds=1))
    assert not state.is_live(LATER)


def test_revoked_grant_is_not_live_and_shows_who_revoked_it() -> None:
    state: Grant = grant(CREATED).when(RevokeGrant()).then(GrantRevoked()).state
    assert not state.is_live(NOON)
    assert state.revocation is not None
    assert state.revocation.by == "tester"


def test_grant_is_revoked_once() -> None:
    grant(CREATED, GrantRevoked()).when(RevokeGrant()).then()


def test_grant_is_not_revoked_before_it_was_created() -> None:
    early = grant(CREATED).state.at - timedelta(seconds=1)
    grant(CREATED).when(RevokeGrant(occurred_at=early)).refused_field("occurredAt")


def test_missing_grant_is_not_revoked() -> None:
    grant().when(RevokeGrant()).refused(NotFound)
