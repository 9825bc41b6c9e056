"""Callers with roles at a running service, each authenticated by its name as a token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from api.access.identity import Caller
from api.access.rights import Role
from api.access.scope import AUDITING, Reach, Scope, reach_of_owner
from tests.support.declared import require_declared
from tests.support.lean_transport import LeanTransport
from tests.support.running_server import Serving


class KnownCallers:
    """Verifies made-up tokens, one per caller."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self.callers = {token.encode(): each for token, each in callers.items()}

    def takes(self, token: bytes) -> bool:
        return token in self.callers

    async def caller(self, token: bytes, fingerprint: str) -> Caller:
        return self.callers[token]


def caller(role: Role, name: str) -> Caller:
    """A caller with a role, and with the party or the auditor of its name."""
    reach: Reach = AUDITING if role is Role.AUDITOR else reach_of_owner(role, name)
    return Caller(f"{role}:{name}", Scope((reach,)), f"key-{name}", subject=name)


def admit(server: Serving, *callers: Caller) -> None:
    """Let the service accept more callers, each by its name as a token."""
    access = server.system.admission.access
    access._verifiers += (KnownCallers({each.name: each for each in callers}),)


@contextmanager
def client(server: Serving, who: Caller, **headers: str) -> Iterator[httpx.Client]:
    """A client that sends requests as a caller."""
    with httpx.Client(
        base_url=f"{server.url}/api",
        headers={"Authorization": f"Bearer {who.name}", **headers},
        timeout=30,
        transport=LeanTransport(),
        event_hooks={"response": [require_declared]},
    ) as opened:
        yield opened
