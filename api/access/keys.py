"""The format of API keys, and their verification."""

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
"""The prefix of keys, by which scanners for secrets recognize them."""
ALPHABET = digits + ascii_letters
BODY, CHECK = 43, 6
"""Base-62 digits of 32 random bytes, and of their checksum."""
FORM = re.compile(rb"[0-9A-Za-z]{49}")

Load = Callable[[str], Awaitable[Versioned[Any] | None]]


def new_key(prefix: bytes = PREFIX) -> bytes:
    """Make a new key: a prefix, 32 random bytes, and a checksum that reveals a mistyped key."""
    return with_checksum(token_bytes(32), prefix)


def with_checksum(secret: bytes, prefix: bytes) -> bytes:
    """Encode 32 bytes as a key with a prefix and a checksum."""
    body = _base62(int.from_bytes(secret), BODY)
    return prefix + f"{body}{_checksum(body)}".encode()


def is_checked(token: bytes, prefix: bytes) -> bool:
    """Whether a token has the form of a key with this prefix, and its checksum is right."""
    if not (token.startswith(prefix) and FORM.fullmatch(token, len(prefix))):
        return False
    body = token[len(prefix) : -CHECK].decode()
    return token[-CHECK:] == _checksum(body).encode()


def key_id(fingerprint: str) -> str:
    """The id of the key with a fingerprint."""
    return f"key_{fingerprint[:NAMED]}"


def actor(role: Role, party: str | None, name: str | None) -> str:
    """The name of a caller in events: `provider:acme`, `provider:acme/ci`, `operator:night-shift`.

    The name begins with a role and a colon, so it is never `admin`, nor an actor of the service itself.
    """
    return f"{role}:{'/'.join(part for part in (party, name) if part)}"


class KeyVerifier:
    """Authenticates API keys, which are events of the log."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def takes(self, token: bytes) -> bool:
        """Whether a token has the form of a key, and its checksum is right."""
        return is_checked(token, PREFIX)

    async def caller(self, token: bytes, fingerprint: str) -> Caller:
        """The holder of a key. Raises Unauthenticated where the key is unknown, revoked or has expired."""
        identity = key_id(fingerprint)
        versioned = await self._load(f"key/{identity}")
        if versioned is None or not hmac.compare_digest(versioned.state.digest, fingerprint):
            raise Unauthenticated("This key is not valid.")
        return _caller_of(require_live(versioned))


def require_live(versioned: Versioned[Any] | None) -> Key:
    """Check that a key is valid, and return it. Raises Unauthenticated where it is unknown, revoked or has expired."""
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
    # A stored right that does not exist any more is ignored.
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
