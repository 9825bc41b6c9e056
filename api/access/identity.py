"""Authenticates callers by their tokens."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from math import inf
from time import time
from typing import Any, Protocol

from api.access.rights import Right, Role
from api.access.scope import WHOLE, Identity, Reach, Scope, maker_of
from api.problems.problems import Unauthenticated
from domain.errors import Forbidden
from domain.lru import LruCache
from domain.model import Versioned
from domain.writer.message import Permits
from projections.query.ast import EVERYTHING

LONGEST = 8 * 1024
"""Bytes of the longest token that is looked up; no valid token is longer."""
CACHED = 10_000
"""Verified tokens that are cached."""
NAMED = 20
"""Hexadecimal digits of a fingerprint that identify a token, in the id of a key and in the cache."""
ADMIN_TOKEN = "admin-token"  # noqa: S105  (the name of the token)
"""The credential of the administrator, which does not end."""
OF_COOKIES = b"exs_"
"""The prefix of tokens that are accepted only in cookies."""
USE_NOTED = 60.0
"""Seconds between two calls of `used` for one key."""


@dataclass(frozen=True)
class Caller:
    """An authenticated caller, and its rights.
    `name`: the actor in events. `credential`: the name of the key, token or session by which the caller was
    authenticated; it ends at `expires_at`, or with one of its `parents`: for a session, the credential that it was
    started with, the credential of that one, and so on. `subject`: the name to which grants are made, of an auditor.
    `identity`: the identity of sessions that the caller starts.
    """

    name: str
    scope: Scope
    credential: str = ""
    expires_at: datetime | None = None
    subject: str = ""
    parents: tuple[str, ...] = ()
    identity: Identity | None = None

    @cached_property
    def rights(self) -> frozenset[Right]:
        """The rights that the caller has for at least some executions."""
        return self.scope.rights

    def permits(self, right: Right) -> Permits | None:
        """A function that returns whether the right holds for a state; None where the right holds for all states.

        An aggregate that has a maker is only for the maker.
        """
        of_scope = self.scope.permits(right)
        if of_scope is None:
            return None

        def permits(versioned: Versioned[Any]) -> bool:
            maker = maker_of(versioned)
            return of_scope(versioned) if maker is None else maker == self.name

        return permits

    def require(self, right: Right) -> None:
        """Raises Forbidden where the caller has not the right."""
        if right not in self.rights:
            raise Forbidden(f"This needs the right `{right}`.")


ANONYMOUS = Caller("anonymous", Scope((Reach(EVERYTHING, frozenset({Right.OPEN})),)))


class Verifier(Protocol):
    """Authenticates one kind of token."""

    def takes(self, token: bytes) -> bool:
        """Whether a token is of this kind."""
        ...

    async def caller(self, token: bytes, fingerprint: str) -> Caller:
        """The holder of a token. Raises Unauthenticated where the token is not valid, or not any more."""
        ...


@dataclass(slots=True)
class VerifiedCaller:
    """A caller whose token was verified, and the time until which the caller is cached, in seconds since the epoch."""

    fingerprint: str
    caller: Caller
    until: float
    noted: float = -inf
    """The time of the last call of `used`."""


class Authenticator:
    """Authenticates callers by their tokens: the administrator's, and those that one of the verifiers accepts.

    A verified token is cached by its fingerprint, an HMAC, until it expires or `forget` is called, as it was
    revoked. `used` is called with a credential once a minute while it is in use.
    """

    def __init__(
        self,
        admin_token: str,
        pepper: bytes,
        verifiers: Iterable[Verifier] = (),
        *,
        used: Callable[[str, float], None] = lambda _, __: None,
        now: Callable[[], float] = time,
    ) -> None:
        self._pepper = pepper
        self._expected = self.fingerprint(admin_token.encode())
        self.admin = Caller("admin", WHOLE, ADMIN_TOKEN, identity=Identity((Role.ADMIN,)))
        self._verifiers = tuple(verifiers)
        self._verified: LruCache[str, VerifiedCaller] = LruCache(CACHED)
        self._forgotten = 0
        self._used = used
        self._now = now

    @property
    def admin_parent(self) -> str:
        """The credential of the current administrator's token, in sessions that were started with it."""
        return f"{ADMIN_TOKEN}/{self._expected[:NAMED]}"

    def add(self, verifier: Verifier) -> None:
        """Add a verifier."""
        self._verifiers += (verifier,)

    def fingerprint(self, token: bytes) -> str:
        """The HMAC of a token, in hexadecimal, from which the token cannot be derived."""
        return hmac.digest(self._pepper, token, "sha256").hex()

    def known_caller(self, authorization: bytes | None) -> Caller | None:
        """The cached caller for a header Authorization; None where `caller` has to authenticate it."""
        if authorization is None or (token := _bearer(authorization)) is None:
            return None
        return self.verified_before(token)

    def verified_before(self, token: bytes) -> Caller | None:
        """The cached holder of a token; None where `holder` has to authenticate it."""
        return self._find_verified(self.fingerprint(token))

    async def caller(self, authorization: bytes | None) -> Caller:
        """Authenticate a header Authorization; `ANONYMOUS` without the header.

        Raises:
            Unauthenticated: the header has no valid token.
            Overloaded: the database, which has the keys and sessions, is unavailable.
        """
        if authorization is None:
            return ANONYMOUS
        if (token := _bearer(authorization)) is None:
            raise Unauthenticated
        return await self.holder(token)

    async def holder(self, token: bytes) -> Caller:
        """Authenticate a token, which may be that of a cookie.

        Raises:
            Unauthenticated: the token is not valid.
            Overloaded: the database, which has the keys and sessions, is unavailable.
        """
        fingerprint = self.fingerprint(token)
        return self._find_verified(fingerprint) or await self._verify(token, fingerprint)

    def forget(self, identity: str | None = None) -> None:
        """Drop the cached token of a session, and of sessions that were started with it; without an id, all cached tokens."""
        self._forgotten += 1
        if identity is None:
            self._verified.clear()
        else:
            self._verified.pop(identity[-NAMED:])
            self._verified.remove(lambda found: f"session/{identity}" in found.caller.parents)

    def _find_verified(self, fingerprint: str) -> Caller | None:
        if hmac.compare_digest(fingerprint, self._expected):
            return self.admin
        found = self._verified.get(fingerprint[:NAMED])
        if found is None or not hmac.compare_digest(found.fingerprint, fingerprint):
            return None
        now = self._now()
        if now >= found.until:
            return None
        if now - found.noted >= USE_NOTED:
            found.noted = now
            self._used(found.caller.credential, now)
        return found.caller

    async def _verify(self, token: bytes, fingerprint: str) -> Caller:
        for verifier in self._verifiers:
            if verifier.takes(token):
                # A token that is forgotten while it is verified may have been revoked since its key was read.
                forgotten = self._forgotten
                caller = await verifier.caller(token, fingerprint)
                if forgotten == self._forgotten:
                    self._cache(fingerprint, caller)
                else:
                    self._used(caller.credential, self._now())
                return caller
        raise Unauthenticated("This token is not valid.")

    def _cache(self, fingerprint: str, caller: Caller) -> None:
        until = inf if caller.expires_at is None else caller.expires_at.timestamp()
        self._verified.put(fingerprint[:NAMED], VerifiedCaller(fingerprint, caller, until))
        self._verified.trim()
        self._find_verified(fingerprint)


def _bearer(authorization: bytes) -> bytes | None:
    """The token in a header Authorization; None where there is none, or it is too long, or only valid in a cookie."""
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not 0 < len(token) <= LONGEST:
        return None
    if token.startswith(OF_COOKIES):
        return None
    return token
