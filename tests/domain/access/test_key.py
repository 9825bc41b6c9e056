"""API keys: their party, their expiry and their revocation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import pytest

from api.access.rights import Role
from domain.access.key import CreateKey, KeyCreated, KeyRevoked, KeyRole, KeyStatus, RevokeKey
from domain.catalog.user import User
from domain.errors import AlreadyExists, Invalid, UnknownReference
from tests.support.given import NOON, Given, given

DIGEST = "d" * 64
CREATED = KeyCreated(role="provider", party="acme", digest=DIGEST)


def key(*events: Any) -> Given:
    acme = User("acme", "Acme", "organization")
    return given(*events, stream="key/k-1").knowing(user__acme=acme, user__nobody=None)


def test_key_of_a_provider_shows_its_party_and_its_maker() -> None:
    state = key().when(CreateKey(role="provider", party="acme", digest=DIGEST)).then(CREATED).state
    assert (state.role, state.party, state.by, state.status) == (
        "provider",
        "acme",
        "tester",
        KeyStatus.ACTIVE,
    )


@pytest.mark.parametrize("role", get_args(KeyRole))
def test_key_has_a_party_where_its_role_needs_one(role: Any) -> None:
    nobodys = role in {"admin", "operator"}
    for party in (None, "acme"):
        command = CreateKey(role=role, party=party, digest=DIGEST)
        if (party is None) == nobodys:
            key().when(command).then(KeyCreated(role=role, party=party, digest=DIGEST))
        else:
            key().when(command).refused(Invalid)


@pytest.mark.parametrize("role", ["customer", "provider"])
def test_key_of_a_user_that_does_not_exist_is_refused(role: Any) -> None:
    key().when(CreateKey(role=role, party="nobody", digest=DIGEST)).refused(UnknownReference)


@pytest.mark.parametrize("member", ["customer", "provider"])
def test_key_of_an_assignee_alone_is_narrowed_by_users_that_exist(member: Any) -> None:
    for role in get_args(KeyRole):
        party = None if role in {"admin", "operator"} else "acme"
        narrowed = {"role": role, "party": party, "digest": DIGEST, member: "acme"}
        if role == "assignee":
            state = key().when(CreateKey(**narrowed)).then(KeyCreated(**narrowed)).state
            assert getattr(state, member) == "acme"
            key().when(CreateKey(**{**narrowed, member: "nobody"})).refused(UnknownReference)
        else:
            key().when(CreateKey(**narrowed)).refused(Invalid)


def test_key_that_has_expired_already_is_refused() -> None:
    late = key().now - timedelta(seconds=1)
    command = CreateKey(role="operator", digest=DIGEST, expires_at=late)
    key().when(command).refused(Invalid)


def test_key_is_created_once() -> None:
    key(CREATED).when(CreateKey(role="provider", party="acme", digest=DIGEST)).refused(
        AlreadyExists
    )


def test_revoked_key_shows_who_revoked_it_and_stays_revoked() -> None:
    state = key(CREATED).when(RevokeKey()).then(KeyRevoked()).state
    assert state.status is KeyStatus.REVOKED
    assert state.revocation.by == "tester"
    assert state.revocation.at > NOON
    key(CREATED, KeyRevoked()).when(RevokeKey()).then()
    early = key(CREATED).state.at - timedelta(seconds=1)
    key(CREATED).when(RevokeKey(occurred_at=early)).refused_field("occurredAt")


def test_roles_of_keys_are_those_of_callers() -> None:
    assert set(get_args(KeyRole)) == set(Role)
