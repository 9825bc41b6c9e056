"""Callers with roles at a running service, each by the token that is its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from api.access.identity import Caller
from api.access.rights import Role
from api.access.scope import AUDITING, Reach, Scope, owned
from tests.support.declared import require_declared
from tests.support.running_server import Serving


def caller(role: Role, name: str) -> Caller:
    """One with a role, of the party that its name says, or the one that an auditor is."""
    reach: Reach = AUDITING if role is Role.AUDITOR else owned(role, name)
    return Caller(
        name if role is Role.AUDITOR else f"{role}:{name}", Scope((reach,)), f"key-{name}"
    )


def admit(server: Serving, *callers: Caller) -> None:
    """Let the service know some callers besides those that it knows."""
    access = server.system.door.access
    known = {each.name: each for each in callers}
    before = access.caller

    def found(authorization: bytes | None) -> Caller:
        name = (authorization or b"").decode("latin-1").removeprefix("Bearer ")
        return known[name] if name in known else before(authorization)

    access.caller = found  # type: ignore[method-assign]  # tokens of their own come with identities


@contextmanager
def client(server: Serving, who: Caller, **headers: str) -> Iterator[httpx.Client]:
    """A client of a caller's."""
    with httpx.Client(
        base_url=f"{server.url}/api",
        headers={"Authorization": f"Bearer {who.name}", **headers},
        timeout=30,
        event_hooks={"response": [require_declared]},
    ) as opened:
        yield opened
