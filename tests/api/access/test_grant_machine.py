"""A stateful property test of grants, holds, erasures and reads: callers see only executions that the rules allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from api.access import grants
from api.access.rights import Role
from tests.support.access_entries import entries
from tests.support.api_client import ok
from tests.support.callers import admit, caller, client
from tests.support.running_server import Serving

JSON = dict[str, Any]
CUSTOMERS, PROVIDERS = ("c-1", "c-2"), {"s-1": "p-1", "s-2": "p-2"}
AUDITORS, WORKER = ("ann", "bob"), "wendy"
PARTIES = (*CUSTOMERS, *PROVIDERS.values())
CALLERS = {
    **{name: caller(Role.CUSTOMER, name) for name in CUSTOMERS},
    **{name: caller(Role.PROVIDER, name) for name in PROVIDERS.values()},
    **{name: caller(Role.AUDITOR, name) for name in AUDITORS},
    WORKER: caller(Role.ASSIGNEE, WORKER),
    "stranger": caller(Role.CUSTOMER, "stranger"),
    "carl": caller(Role.AUDITOR, "carl"),
}
READS = (
    "",
    "/status",
    "/steps",
    "/events",
    "/checkpoints",
    "/logs",
    "/access-log",
    "/diff?from=1&to=1",
)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Made:
    """An execution in the model."""

    id: str
    service: str
    customer: str
    tag: str
    assignee: str | None

    @property
    def parties(self) -> set[str]:
        return {self.customer, PROVIDERS[self.service]}


@dataclass(frozen=True)
class Given:
    """A grant in the model."""

    id: str
    auditor: str
    maker: str
    expires_at: datetime
    meets: Callable[[Made], bool]


class Reading(RuleBasedStateMachine):
    """Callers that read from a service. The model has the parties of each execution, and the valid grants."""

    server: Serving

    @initialize()
    def begin(self) -> None:
        self.prefix = f"m-{uuid4().hex[:12]}-"
        self.made: list[Made] = []
        self.given: list[Given] = []
        self.erased: set[str] = set()
        self.holds: dict[str, str] = {}
        self.position = 0
        self.passed = timedelta()
        self.stack = ExitStack()
        self.admin = self.stack.enter_context(self.server.client())
        purpose = {"X-Purpose": "What the machine asks"}
        self.clients = {
            name: self.stack.enter_context(client(self.server, each, **purpose))
            for name, each in CALLERS.items()
        }
        clock = self.server.system.clock
        self.server.system.admission.grants._clock = lambda: clock() + self.passed
        for service in PROVIDERS:
            for customer in CUSTOMERS:
                self.create(service, customer, "eu", assigned=False)

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            for each in self.given:
                ok(self.admin.delete(f"/grants/{each.id}"))
            self.stack.close()

    @property
    def now(self) -> datetime:
        return self.server.system.clock() + self.passed

    @rule(
        service=st.sampled_from(sorted(PROVIDERS)),
        customer=st.sampled_from(CUSTOMERS),
        tag=st.sampled_from(["eu", "us"]),
        assigned=st.booleans(),
    )
    def create(self, service: str, customer: str, tag: str, *, assigned: bool) -> None:
        id_ = f"{self.prefix}{len(self.made)}"
        body: JSON = {
            "$id": id_,
            "order": f"o-{service}-{customer}",
            "service": service,
            "tags": [tag],
            "metadata": {"secret": f"marker-{id_}-end"},
            "steps": [{"id": "s", "name": f"marker-{id_}-end"}],
            "status": "running",
        }
        if assigned:
            body["assignee"] = {"type": "human", "id": WORKER, "name": "Wendy"}
        ok(self.admin.post("/executions", json=body))
        content = {"input": {"said": f"sealed-{id_}-end"}}
        started = self.admin.post(f"/executions/{id_}/steps/s/start", json=content)
        self.position = ok(started)["position"]
        self.made.append(Made(id_, service, customer, tag, WORKER if assigned else None))

    @precondition(lambda self: self.made)
    @rule(
        maker=st.sampled_from(PARTIES),
        auditor=st.sampled_from(AUDITORS),
        kind=st.sampled_from(["executions", "order", "service", "filter", "all"]),
        hours=st.integers(1, 3),
        place=st.integers(0, 100),
    )
    def grant(self, maker: str, auditor: str, kind: str, hours: int, place: int) -> None:
        one = self.made[place % len(self.made)]
        named: dict[str, tuple[JSON, Callable[[Made], bool]]] = {
            "executions": ({"executions": [one.id]}, lambda each: each.id == one.id),
            "order": (
                {"order": f"o-{one.service}-{one.customer}"},
                lambda each: (each.service, each.customer) == (one.service, one.customer),
            ),
            "service": ({"service": one.service}, lambda each: each.service == one.service),
            "filter": ({"filter": {"tags": one.tag}}, lambda each: each.tag == one.tag),
            "all": ({"filter": {}}, lambda _: True),
        }
        body, meets = named[kind]
        expires_at = self.now + hours * HOUR
        asked = {"auditor": auditor, "purpose": "Machine", "expiresAt": expires_at.isoformat()}
        answer = self.clients[maker].post("/grants", json=asked | body)
        if kind in {"executions", "order"} and maker not in one.parties:
            assert answer.status_code == 422
            assert answer.json()["type"] == "/problems/unknown-reference"
            return
        granted = ok(answer)
        self.position = granted["position"]
        self.given.append(Given(granted["$id"], auditor, maker, expires_at, meets))

    @precondition(lambda self: self.given)
    @rule(place=st.integers(0, 100), by_admin=st.booleans())
    def revoke(self, place: int, *, by_admin: bool) -> None:
        gone = self.given.pop(place % len(self.given))
        revoker = self.admin if by_admin else self.clients[gone.maker]
        ok(revoker.delete(f"/grants/{gone.id}"))

    @precondition(lambda self: self.given)
    @rule(place=st.integers(0, 100), other=st.sampled_from([*PARTIES, "stranger"]))
    def revoking_a_grant_of_another_is_refused(self, place: int, other: str) -> None:
        kept = self.given[place % len(self.given)]
        if other != kept.maker:
            assert self.clients[other].delete(f"/grants/{kept.id}").status_code == 404

    @rule(hours=st.integers(1, 2))
    def advance_time(self, hours: int) -> None:
        self.passed += hours * HOUR

    @precondition(lambda self: self.made)
    @rule(place=st.integers(0, 100))
    def hold(self, place: int) -> None:
        one = self.made[place % len(self.made)]
        if one.id not in self.holds:
            body = {"executions": [one.id], "reason": "Claim"}
            self.holds[one.id] = ok(self.admin.post("/holds", json=body))["$id"]

    @precondition(lambda self: self.holds)
    @rule(place=st.integers(0, 100))
    def release(self, place: int) -> None:
        execution = sorted(self.holds)[place % len(self.holds)]
        path = f"/holds/{self.holds.pop(execution)}"
        ok(self.admin.request("DELETE", path, json={"reason": "over"}))

    @precondition(lambda self: self.made)
    @rule(place=st.integers(0, 100), name=st.sampled_from([*PARTIES, "ann", None]))
    def erase(self, place: int, name: str | None) -> None:
        one = self.made[place % len(self.made)]
        path, reason = f"/executions/{one.id}/erase", {"reason": "asked"}
        if name is not None:
            assert self.clients[name].post(path, json=reason).status_code in {403, 404}
            return
        answer = self.admin.post(path, json=reason)
        held = one.id in self.holds and one.id not in self.erased
        assert answer.status_code == (409 if held else 200), answer.text
        if not held:
            self.erased.add(one.id)

    def reached(self, name: str) -> set[str]:
        """The executions that the rules show to a caller."""
        found = {each.id for each in self.made if name in each.parties or name == each.assignee}
        for each in self.given:
            if each.auditor == name and self.now < each.expires_at:
                found |= {
                    made.id for made in self.made if each.maker in made.parties and each.meets(made)
                }
        return found

    @precondition(lambda self: self.made)
    @rule(
        name=st.sampled_from(sorted(CALLERS)),
        place=st.integers(0, 100),
        part=st.sampled_from(READS),
    )
    def read_one(self, name: str, place: int, part: str) -> None:
        one = self.made[place % len(self.made)]
        correlation = uuid4().hex
        self._settle()
        answer = self.clients[name].get(
            f"/executions/{one.id}{part}", headers={"X-Correlation-Id": correlation}
        )
        allowed = one.id in self.reached(name) and not (name == WORKER and part == "/access-log")
        refusal = 403 if name == WORKER and part == "/access-log" else 404
        assert answer.status_code == (200 if allowed else refusal), answer.text
        self._require_nothing_else(answer, name)
        if allowed and part in {"", "/steps", "/events"}:
            assert (f"sealed-{one.id}-end" in answer.text) is (one.id not in self.erased)
        recorded = entries(self.server.conninfo, correlation)
        assert [each.executions for each in recorded] == ([(one.id,)] if allowed else [])

    @rule(name=st.sampled_from(sorted(CALLERS)), tag=st.sampled_from([None, "eu"]))
    def read_many(self, name: str, tag: str | None) -> None:
        self._settle()
        wanted = {"$id": {"$prefix": self.prefix}} | ({"tags": tag} if tag else {})
        body = {"filter": wanted, "count": True, "facets": ["service"], "limit": 500}
        answer = self.clients[name].post(
            "/executions/find", json=body, params={"minPosition": self.position}
        )
        shown = ok(answer)
        tags = {each.id: each.tag for each in self.made}
        expected = {id_ for id_ in self.reached(name) if tag in {None, tags[id_]}}
        assert {each["$id"] for each in shown["data"]} == expected
        assert shown["total"] == len(expected)
        counts = [each["count"] for each in shown["facets"]["service"]["values"]]
        assert sum(counts) == len(expected)
        self._require_nothing_else(answer, name)

    @invariant()
    def lists_of_auditors_have_the_allowed_executions(self) -> None:
        for name in AUDITORS if hasattr(self, "clients") else ():
            self.read_many(name, None)

    def _settle(self) -> None:
        """Wait until the catalog has every grant: only then a new one takes effect."""
        ok(self.admin.get("/grants", params={"minPosition": self.position, "limit": 1}))

    def _require_nothing_else(self, answer: httpx.Response, name: str) -> None:
        hidden = {each.id for each in self.made} - self.reached(name)
        assert not [id_ for id_ in hidden if f"marker-{id_}-end" in answer.text]
        gone = hidden | self.erased
        assert not [id_ for id_ in gone if f"sealed-{id_}-end" in answer.text]

    @invariant()
    def own_grants_are_listed(self) -> None:
        if not hasattr(self, "clients") or not self.given:
            return
        self._settle()
        one = self.given[-1]
        listed = ok(self.clients[one.maker].get("/grants?status=active&limit=500"))["data"]
        own = {each.id for each in self.given if each.maker == one.maker}
        assert own <= {each["$id"] for each in listed}
        others = {each.id for each in self.given} - own
        assert not others & {each["$id"] for each in listed}


@pytest.fixture
def peopled(server: Serving, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """A service with parties, services and orders, which reads grants at each request without a cache."""
    monkeypatch.setattr(grants, "FRESH", 0.0)
    admit(server, *CALLERS.values())
    before = server.system.admission.grants._clock
    with server.client() as api:
        for name in PARTIES:
            ok(api.post("/users", json={"$id": name, "name": name, "kind": "organization"}))
        for service, provider in PROVIDERS.items():
            body = {"$id": service, "name": service, "provider": provider}
            ok(api.post("/services", json=body))
            for customer in CUSTOMERS:
                order = {"$id": f"o-{service}-{customer}", "service": service}
                ok(api.post("/orders", json={**order, "customer": customer}))
    yield server
    server.system.admission.grants._clock = before


def test_reads_show_only_executions_that_a_rule_allows(peopled: Serving, *, thorough: bool) -> None:
    Reading.server = peopled
    run_state_machine_as_test(
        Reading,
        settings=settings(
            max_examples=60 if thorough else 4,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
