"""The form of API keys, and how callers are authenticated by them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.access.identity import ANONYMOUS, NAMED, Authenticator
from api.access.keys import PREFIX, KeyVerifier, actor, key_id, new_key
from api.access.rights import Right, Role
from api.access.scope import AUDITING, reach_of_owner
from api.problems.problems import Unauthenticated
from domain.access.key import Key
from domain.access.revocation import Revocation
from domain.model import Versioned
from tests.support.given import NOON

pytestmark = pytest.mark.anyio


class Log:
    """Keys of a log, a clock, and a verifier that loads these keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.loads = 0
        self.now = datetime.now(UTC).timestamp()
        self.used: list[str] = []
        self.access = Authenticator(
            "the-admin-token",
            b"pepper",
            [KeyVerifier(self.load)],
            used=lambda credential, _: self.used.append(credential),
            now=lambda: self.now,
        )

    def make_key(self, role: str = "provider", party: str | None = "acme", **members: Any) -> bytes:
        """The header with a new key."""
        text = new_key()
        digest = self.access.fingerprint(text)
        made = Key(key_id(digest), role, party, digest, "admin", NOON, **members)
        self.keys[made.id] = made
        return b"Bearer " + text

    async def load(self, stream: str) -> Versioned[Any] | None:
        self.loads += 1
        key = self.keys.get(stream.removeprefix("key/"))
        return None if key is None else Versioned(key, 1, 1, NOON)


def test_key_has_a_prefix_256_bits_and_a_checksum() -> None:
    keys = {new_key() for _ in range(1_000)}
    assert len(keys) == 1_000
    assert all(re.fullmatch(rb"exk_[0-9A-Za-z]{49}", key) for key in keys)
    verifier = KeyVerifier(Log().load)
    for key in keys:
        assert key.startswith(PREFIX)
        assert verifier.takes(key)
        typo = key[:20] + (b"a" if key[20:21] != b"a" else b"b") + key[21:]
        assert not verifier.takes(typo)


async def test_caller_of_a_key_is_looked_up_once_and_then_cached() -> None:
    log = Log()
    header = log.make_key()
    assert log.access.known_caller(header) is None
    caller = await log.access.caller(header)
    assert (caller.name, caller.credential) == ("provider:acme", f"key/{next(iter(log.keys))}")
    assert caller.scope.reaches == (reach_of_owner(Role.PROVIDER, "acme"),)
    assert log.access.known_caller(header) is caller
    assert await log.access.caller(header) is caller
    assert log.loads == 1


async def test_key_of_an_assignee_may_be_narrowed() -> None:
    log = Log()
    for within in ({}, {"provider": "acme"}, {"customer": "c-1", "provider": "acme"}):
        caller = await log.access.caller(log.make_key("assignee", "worker-7", **within))
        assert caller.scope.reaches == (reach_of_owner(Role.ASSIGNEE, "worker-7", **within),)
        assert caller.name == "assignee:worker-7"


async def test_unknown_and_mistyped_keys_are_refused() -> None:
    log = Log()
    for header in (b"Bearer " + new_key(), log.make_key()[:-1] + b"!", b"Bearer exk_"):
        with pytest.raises(Unauthenticated):
            await log.access.caller(header)
    assert log.loads == 1
    assert await log.access.caller(None) is ANONYMOUS


async def test_another_key_with_the_same_name_is_refused() -> None:
    log = Log()
    header = log.make_key()
    (key,) = log.keys.values()
    log.keys[key.id] = key.evolve(digest=key.digest[:NAMED] + "0" * (64 - NAMED))
    with pytest.raises(Unauthenticated):
        await log.access.caller(header)


async def test_revoked_key_that_is_no_longer_cached_is_refused() -> None:
    log = Log()
    header = log.make_key()
    await log.access.caller(header)
    (key,) = log.keys.values()
    log.keys[key.id] = key.evolve(revocation=Revocation("admin", NOON))
    log.access.forget(key.id)
    assert log.access.known_caller(header) is None
    with pytest.raises(Unauthenticated):
        await log.access.caller(header)


async def test_key_that_is_revoked_while_it_is_looked_up_is_not_cached() -> None:
    log = Log()
    header = log.make_key()
    (key,) = log.keys.values()
    load = log.load

    async def slow(stream: str) -> Versioned[Any] | None:
        found = await load(stream)
        log.access.forget(key.id)
        return found

    access = Authenticator(
        "the-admin-token",
        b"pepper",
        [KeyVerifier(slow)],
        used=lambda name, _: log.used.append(name),
    )
    log.access = access
    await access.caller(header)
    assert access.known_caller(header) is None
    assert log.used == [f"key/{key.id}"]  # its use is still recorded


async def test_cached_key_is_refused_after_it_expired() -> None:
    log = Log()
    ends = datetime.fromtimestamp(log.now, UTC) + timedelta(seconds=60)
    header = log.make_key(expires_at=ends)
    await log.access.caller(header)
    log.now += 59
    assert log.access.known_caller(header) is not None
    log.now += 1
    assert log.access.known_caller(header) is None


async def test_expired_key_is_refused() -> None:
    log = Log()
    header = log.make_key(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(Unauthenticated):
        await log.access.caller(header)


async def test_key_has_only_the_rights_that_it_was_given() -> None:
    log = Log()
    caller = await log.access.caller(log.make_key(rights=("executions.work", "operate")))
    assert caller.rights == {Right.WORK, Right.OPEN, Right.SELF}


async def test_caller_of_an_auditors_key_gets_its_scope_from_grants() -> None:
    log = Log()
    caller = await log.access.caller(log.make_key("auditor", "audrey", name="laptop"))
    assert (caller.name, caller.subject) == ("auditor:audrey/laptop", "audrey")
    assert AUDITING in caller.scope.reaches


async def test_use_of_a_key_is_recorded_once_a_minute() -> None:
    log = Log()
    header = log.make_key()
    for seconds in (0, 30, 31):
        log.now += seconds
        await log.access.caller(header)
    assert log.used == [f"key/{next(iter(log.keys))}"] * 2


def test_actor_of_a_key_never_equals_that_of_the_administrator_or_the_service() -> None:
    assert actor(Role.PROVIDER, "acme", None) == "provider:acme"
    assert actor(Role.PROVIDER, "acme", "ci") == "provider:acme/ci"
    assert actor(Role.ADMIN, None, "admin") == "admin:admin"
    assert all(re.match(r"\w+:.", actor(role, "admin", None)) for role in Role)
