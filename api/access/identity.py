"""Who asks, and how a caller shows who it is."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from api.access.rights import Right
from api.access.scope import WHOLE, Permits, Reach, Scope, maker_of
from api.problems.problems import Unauthenticated
from domain.errors import Forbidden
from domain.model import Versioned
from projections.query.ast import EVERYTHING


@dataclass(frozen=True)
class Caller:
    """Who asks. `name` is the actor that events show; `credential` names the key, the token or the session
    that it came with, which ends at `expires_at`.
    """

    name: str
    scope: Scope
    credential: str = ""
    expires_at: datetime | None = None

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


class Access:
    """Knows the one administrator's token."""

    def __init__(self, admin_token: str) -> None:
        self._expected = f"Bearer {admin_token}".encode()
        self._admin = Caller("admin", WHOLE, "admin-token")

    def caller(self, authorization: bytes | None) -> Caller:
        """The caller behind an Authorization header; `ANONYMOUS` without one.

        Raises:
            Unauthenticated: there is a header, but no valid token in it.
        """
        if authorization is None:
            return ANONYMOUS
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthenticated
        if hmac.compare_digest(b"Bearer " + token.strip(), self._expected):
            return self._admin
        raise Unauthenticated("This token is not valid.")
