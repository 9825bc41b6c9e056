"""Who may ask what: rights, who has them, and how a caller shows who it is."""

from __future__ import annotations

import hmac
from typing import NamedTuple

from api.access.rights import ROLES, Right
from api.problems.problems import Unauthenticated
from domain.errors import Forbidden


class Caller(NamedTuple):
    """Who asks: the name that events carry as their actor, and its rights."""

    name: str
    rights: frozenset[Right]

    def require(self, right: Right) -> None:
        """Raises Forbidden without the right."""
        if right not in self.rights:
            raise Forbidden(f"This needs the right `{right}`.")


ANONYMOUS = Caller("anonymous", frozenset({Right.OPEN}))


class Access:
    """Knows the one administrator's token."""

    def __init__(self, admin_token: str) -> None:
        self._expected = f"Bearer {admin_token}".encode()
        self._admin = Caller("admin", ROLES["admin"])

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
