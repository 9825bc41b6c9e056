"""A log with an owner for everything: executions, and callers who each reach one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from api.access.identity import Authenticator, Caller
from api.access.rights import Role
from api.access.scope import AUDITING, OPERATING, Scope, reach_of_owner
from tests.support.api_client import ok
from tests.support.callers import KnownCallers
from tests.support.lean_transport import LeanTransport
from tests.support.running_server import TOKEN, Serving, serving

JSON = dict[str, Any]


class Sample(NamedTuple):
    """An execution with all that belongs to it. Its `word` is part of all its names and texts, and occurs nowhere else; `number` occurs
    nowhere else either. Its provider and its service are visible to all.
    """

    word: str
    number: int

    @property
    def execution(self) -> str:
        return f"run-{self.word}"

    @property
    def order(self) -> str:
        return f"order-{self.word}"

    @property
    def customer(self) -> str:
        return f"customer-{self.word}"

    @property
    def person(self) -> str:
        return f"person-{self.word}"

    @property
    def provider(self) -> str:
        return f"works-{self.number}"

    @property
    def service(self) -> str:
        return f"service-{self.number}"

    @property
    def marks(self) -> tuple[bytes, ...]:
        """Texts that only callers who reach it may read; without its provider and its service."""
        return self.word.encode(), b"%d" % self.number


OF_CUSTOMER = Sample("amber", 9310071)
OF_PROVIDER = Sample("birch", 9320072)
OF_ASSIGNEE = Sample("cedar", 9330073)
GRANTED = Sample("dogwood", 9340074)
STRANGE = Sample("elmwood", 9350075)
SAMPLES = (OF_CUSTOMER, OF_PROVIDER, OF_ASSIGNEE, GRANTED, STRANGE)


PURPOSE = "Audit of the year"
CALLERS: Mapping[Role, Caller] = {
    Role.CUSTOMER: Caller(
        "customer:amber", Scope((reach_of_owner(Role.CUSTOMER, OF_CUSTOMER.customer),))
    ),
    Role.PROVIDER: Caller(
        "provider:works", Scope((reach_of_owner(Role.PROVIDER, OF_PROVIDER.provider),))
    ),
    Role.ASSIGNEE: Caller(
        "assignee:cedar", Scope((reach_of_owner(Role.ASSIGNEE, OF_ASSIGNEE.person),))
    ),
    Role.AUDITOR: Caller("auditor:ida", Scope((AUDITING,)), subject="ida"),
    Role.OPERATOR: Caller("operator:olaf", Scope((OPERATING,))),
}
REACHED: Mapping[Role, tuple[Sample, ...]] = {
    Role.CUSTOMER: (OF_CUSTOMER,),
    Role.PROVIDER: (OF_PROVIDER,),
    Role.ASSIGNEE: (OF_ASSIGNEE,),
    Role.AUDITOR: (GRANTED,),
    Role.OPERATOR: (),
    Role.ADMIN: SAMPLES,
}
"""The executions that each role may see."""


def token_of(role: Role) -> str:
    """The token of a caller with a role."""
    return TOKEN if role is Role.ADMIN else f"token-of-the-{role}"


def headers_of(role: Role) -> dict[str, str]:
    """The headers that a caller with a role sends."""
    shown = {"Authorization": f"Bearer {token_of(role)}"}
    return {**shown, "X-Purpose": PURPOSE} if role is Role.AUDITOR else shown


@contextmanager
def world(conninfo: str) -> Iterator[Serving]:
    """A server with a caller for each role."""
    callers = {token_of(role): caller for role, caller in CALLERS.items()}
    access = Authenticator(TOKEN, bytes(32), (KnownCallers(callers),))
    with serving(conninfo, access=access) as server:
        yield server


@contextmanager
def replace_caller(server: Serving, role: Role, caller: Caller) -> Iterator[None]:
    """While the block runs, the token of a role belongs to another caller."""
    access, token = server.system.admission.access, token_of(role).encode()
    known = access._verifiers[0]
    assert isinstance(known, KnownCallers)
    before, known.callers[token] = known.callers[token], caller
    access.forget()
    yield
    known.callers[token] = before
    access.forget()


def client_of(server: Serving, role: Role) -> httpx.Client:
    """A client with a role; its paths begin below `/api`."""
    return httpx.Client(
        base_url=f"{server.url}/api",
        headers=headers_of(role),
        timeout=30,
        transport=LeanTransport(),
    )


def fill(api: httpx.Client) -> None:
    """Make all samples, each running, with a log line and a webhook of its own; and the grant. `api` is an administrator's."""
    for sample in SAMPLES:
        _make(api, sample)
    grant = {
        "auditor": CALLERS[Role.AUDITOR].subject,
        "executions": [GRANTED.execution],
        "purpose": PURPOSE,
        "expiresAt": "2099-01-01T00:00:00Z",
    }
    position = str(ok(api.post("/grants", json=grant))["position"])
    ok(api.get("/grants", params={"minPosition": position}))


def _make(api: httpx.Client, sample: Sample) -> None:
    word = sample.word
    for user in (sample.customer, sample.provider):
        ok(api.post("/users", json={"$id": user, "name": user, "kind": "organization"}))
    service = {"$id": sample.service, "name": "Outreach", "provider": sample.provider}
    ok(api.post("/services", json=service))
    order = {"$id": sample.order, "service": sample.service, "customer": sample.customer}
    ok(api.post("/orders", json={**order, "params": {"about": word}}))
    execution: JSON = {
        "$id": sample.execution,
        "order": sample.order,
        "service": sample.service,
        "status": "running",
        "tags": [f"tag-{word}"],
        "metadata": {"about": word},
        "assignee": {"type": "human", "id": sample.person, "name": sample.person},
        "steps": [{"id": "s-1", "name": f"step-{word}", "kind": "human"}],
        "webhooks": [{"url": f"https://127.0.0.1:9/{word}", "events": ["completed"]}],
    }
    ok(api.post("/executions", json=execution))
    below = f"/executions/{sample.execution}"
    ok(api.post(f"{below}/metrics", json={"tokensUsed": sample.number, "model": f"model-{word}"}))
    ok(api.post(f"{below}/logs", json={"level": "info", "message": f"line-{word}"}))
