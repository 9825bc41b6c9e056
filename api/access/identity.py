"""Authenticates callers: finds out whose a token is."""

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
"""Bytes of a token: a longer one is none of ours."""
CACHED = 10_000
"""Verified tokens that are remembered."""
NAMED = 20
"""Hexadecimal digits of a fingerprint that name a token: in the id of a key, and among those remembered."""
ADMIN_TOKEN = "admin-token"  # noqa: S105  (what the token is called)
"""The credential of the administrator, which never ends."""
OF_COOKIES = b"exs_"
"""What tokens begin with that come in cookies alone."""
USE_NOTED = 60.0
"""Seconds between two notes that a key was used."""


@dataclass(frozen=True)
class Caller:
    """Who asks. `name` is the actor that events show; `credential` names the key, the token or the session
    that it came with, which ends at `expires_at`, or with one of its `parents`: of a session the credential that it
    began with, and so on.
    By its `subject` an auditor is granted something. `identity` is what a session of its own is made of.
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
        """What it may do with anything at all."""
        return self.scope.rights

    def permits(self, right: Right) -> Permits | None:
        """Tells of a state whether the right holds for it; None where it holds for all. What has a maker is
        that caller's alone.
        """
        of_scope = self.scope.permits(right)
        if of_scope is None:
            return None

        def permits(versioned: Versioned[Any]) -> bool:
            maker = maker_of(versioned)
            return of_scope(versioned) if maker is None else maker == self.name

        return permits

    def require(self, right: Right) -> None:
        """Raises Forbidden without the right."""
        if right not in self.rights:
            raise Forbidden(f"This needs the right `{right}`.")


ANONYMOUS = Caller("anonymous", Scope((Reach(EVERYTHING, frozenset({Right.OPEN})),)))


class Verifier(Protocol):
    """Tells whose one kind of token is."""

    def takes(self, token: bytes) -> bool:
        """Whether a token is of this kind."""
        ...

    async def caller(self, token: bytes, fingerprint: str) -> Caller:
        """Whose it is. Raises Unauthenticated where it is nobody's, any more."""
        ...


@dataclass(slots=True)
class VerifiedCaller:
    """A caller whose token was verified, and until when that is believed (seconds since the epoch)."""

    fingerprint: str
    caller: Caller
    until: float
    noted: float = -inf


class Authenticator:
    """Knows callers by their tokens: the administrator, and whom one of the verifiers knows.

    A verified token is believed until it expires or is forgotten, as it was revoked. Tokens are remembered by
    their fingerprints, an HMAC. `used` is called with a credential, once a minute while it is in use.
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
        """What stands for the administrator's token in sessions that began with it."""
        return f"{ADMIN_TOKEN}/{self._expected[:NAMED]}"

    def add(self, verifier: Verifier) -> None:
        """Ask one more."""
        self._verifiers += (verifier,)

    def fingerprint(self, token: bytes) -> str:
        """What a token is known by: its HMAC, in hexadecimal. It tells nothing of the token."""
        return hmac.digest(self._pepper, token, "sha256").hex()

    def known_caller(self, authorization: bytes | None) -> Caller | None:
        """The caller behind an Authorization header; None where that has to be found out by `caller`."""
        if authorization is None or (token := _bearer(authorization)) is None:
            return None
        return self.verified_before(token)

    def verified_before(self, token: bytes) -> Caller | None:
        """Whose a token is, if that was verified before."""
        return self._find_verified(self.fingerprint(token))

    async def caller(self, authorization: bytes | None) -> Caller:
        """The caller behind an Authorization header; `ANONYMOUS` without one.

        Raises:
            Unauthenticated: there is a header, but no valid token in it.
            Overloaded: the database, which would know, is away.
        """
        if authorization is None:
            return ANONYMOUS
        if (token := _bearer(authorization)) is None:
            raise Unauthenticated
        return await self.holder(token)

    async def holder(self, token: bytes) -> Caller:
        """Whose a token is, be it one of a cookie.

        Raises:
            Unauthenticated: it is nobody's.
            Overloaded: the database, which would know, is away.
        """
        fingerprint = self.fingerprint(token)
        return self._find_verified(fingerprint) or await self._verify(token, fingerprint)

    def forget(self, identity: str | None = None) -> None:
        """Verify the token anew that goes with the id of a session, and those that began with it; without one, all."""
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
                # What is forgotten while it is verified may have been revoked since it was read.
                forgotten = self._forgotten
                caller = await verifier.caller(token, fingerprint)
                if forgotten == self._forgotten:
                    self._remember(fingerprint, caller)
                else:
                    self._used(caller.credential, self._now())
                return caller
        raise Unauthenticated("This token is not valid.")

    def _remember(self, fingerprint: str, caller: Caller) -> None:
        until = inf if caller.expires_at is None else caller.expires_at.timestamp()
        self._verified.put(fingerprint[:NAMED], VerifiedCaller(fingerprint, caller, until))
        self._verified.trim()
        self._find_verified(fingerprint)


def _bearer(authorization: bytes) -> bytes | None:
    """The token in a header; None where there is none, one that is too long, or that of a cookie."""
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not 0 < len(token) <= LONGEST:
        return None
    if token.startswith(OF_COOKIES):
        return None
    return token
