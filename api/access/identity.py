"""Who asks, and how a caller shows who it is."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from api.access.rights import Right
from api.access.scope import WHOLE, Reach, Scope
from api.problems.problems import Unauthenticated
from domain.errors import Forbidden
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
