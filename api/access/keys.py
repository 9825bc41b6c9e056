"""API keys: their format, and how one is verified."""

from __future__ import annotations

import hmac
import re
from binascii import crc32
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from secrets import token_bytes
from string import ascii_letters, digits
from typing import Any

from api.access.identity import NAMED, Caller
from api.access.rights import Right, Role
from api.access.scope import Identity
from api.problems.problems import Unauthenticated
from domain.access.key import Key, KeyStatus
from domain.model import Versioned

PREFIX = b"exk_"
"""What a key begins with, so that scanners for secrets know it."""
ALPHABET = digits + ascii_letters
BODY, CHECK = 43, 6
"""Digits of 32 random bytes, and of their checksum."""
FORM = re.compile(rb"[0-9A-Za-z]{49}")

Load = Callable[[str], Awaitable[Versioned[Any] | None]]


def new_key(prefix: bytes = PREFIX) -> bytes:
    """A key that nobody has: a prefix, 32 random bytes, and a checksum by which a mistyped one is known."""
    return with_checksum(token_bytes(32), prefix)


def with_checksum(secret: bytes, prefix: bytes) -> bytes:
    """32 bytes as a key."""
    body = _base62(int.from_bytes(secret), BODY)
    return prefix + f"{body}{_checksum(body)}".encode()


def is_checked(token: bytes, prefix: bytes) -> bool:
    """Whether it has the form of a key, and is mistyped in no digit."""
    if not (token.startswith(prefix) and FORM.fullmatch(token, len(prefix))):
        return False
    body = token[len(prefix) : -CHECK].decode()
    return token[-CHECK:] == _checksum(body).encode()


def key_id(fingerprint: str) -> str:
    """The id of the key with a fingerprint."""
    return f"key_{fingerprint[:NAMED]}"


def actor(role: Role, party: str | None, name: str | None) -> str:
    """What events show of who did something: `provider:acme`, `provider:acme/ci`, `operator:night-shift`.

    It begins with a role and a colon, so it is never `admin`, nor one of the actors of the service.
    """
    return f"{role}:{'/'.join(part for part in (party, name) if part)}"


class KeyVerifier:
    """Knows API keys by the log."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def takes(self, token: bytes) -> bool:
        """Whether it looks like a key, which is mistyped in no digit."""
        return is_checked(token, PREFIX)

    async def caller(self, token: bytes, fingerprint: str) -> Caller:
        """Whose key it is. Raises Unauthenticated where it is unknown, revoked or has expired."""
        identity = key_id(fingerprint)
        versioned = await self._load(f"key/{identity}")
        if versioned is None or not hmac.compare_digest(versioned.state.digest, fingerprint):
            raise Unauthenticated("This key is not valid.")
        return _caller_of(require_live(versioned))


def require_live(versioned: Versioned[Any] | None) -> Key:
    """The key in a state. Raises Unauthenticated where there is none, or it was revoked or has expired."""
    if versioned is None:
        raise Unauthenticated("This key is not valid.")
    key: Key = versioned.state
    if key.status is KeyStatus.REVOKED:
        raise Unauthenticated("This key was revoked.")
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        raise Unauthenticated("This key has expired.")
    return key


def _caller_of(key: Key) -> Caller:
    role, party = Role(key.role), key.party
    # A right that there was once opens nothing any more.
    rights = None if key.rights is None else frozenset(Right).intersection(key.rights)
    customer = party if role is Role.CUSTOMER else key.customer
    provider = party if role is Role.PROVIDER else key.provider
    identity = Identity((role,), customer, provider, party, rights)
    name = actor(role, party, key.name or (None if party else key.id))
    credential = f"key/{key.id}"
    return Caller(name, identity.scope, credential, key.expires_at, party or "", identity=identity)


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode()), CHECK)


def _base62(number: int, length: int) -> str:
    found = ""
    while len(found) < length:
        number, digit = divmod(number, len(ALPHABET))
        found = ALPHABET[digit] + found
    return found
