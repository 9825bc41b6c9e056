"""Two servers of one log answer the claims of many workers: each execution is claimed once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from api.claiming.claimers import Claimer, Claimers
from api.claiming.dispatcher import ClaimDispatcher
from domain.errors import Overloaded
from domain.eventlog.codec import EventRow
from domain.eventlog.queries import IN_ORDER, SPAN
from domain.eventlog.sessions import session_options
from projections.claims.queue import ClaimFilter
from tests.support.api_client import Catalog, ok
from tests.support.claim_proof import Owners
from tests.support.running_server import AUTHORIZED, Serving, serving

NUMBER, WORKERS = 300, 80


@pytest.fixture
def other(module_database: str, server: Serving) -> Iterator[Serving]:
    """A second server of the same log."""
    with serving(module_database) as running:
        yield running


def queue(api: httpx.Client, catalog: Catalog, prefix: str, number: int) -> list[str]:
    ids = [f"{prefix}-{n}" for n in range(number)]
    order = {"order": catalog.order, "service": catalog.service}
    commands = [{"command": "create", "execution": id_, **order} for id_ in ids]
    answers = api.post("/commands", json=commands).json()
    assert {answer["status"] for answer in answers} == {201}
    return ids


async def until_waiting(server: Serving, number: int) -> None:
    """Wait until so many claims are queued."""
    while len(server.system.dispatcher) != number:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)


async def claimed_by(url: str, name: str) -> list[str]:
    """The executions that one worker claims until none is left."""
    claimed: list[str] = []
    async with httpx.AsyncClient(base_url=f"{url}/api", headers=AUTHORIZED, timeout=60) as api:
        while True:
            answer = await api.post("/executions/claim", json={"worker": name, "wait": 0.2})
            if answer.status_code == 204:
                return claimed
            assert answer.status_code == 200, answer.text
            claimed.append(answer.json()["$id"])


def test_many_workers_at_two_servers_claim_each_execution_once(
    api: httpx.Client, catalog: Catalog, server: Serving, other: Serving
) -> None:
    ids = queue(api, catalog, "crowd", NUMBER)

    async def crowd() -> list[list[str]]:
        urls = (server.url, other.url)
        return await asyncio.gather(*(claimed_by(urls[n % 2], f"w-{n}") for n in range(WORKERS)))

    claims = [id_ for each in asyncio.run(crowd()) for id_ in each]
    assert len(claims) == len(set(claims))
    assert set(claims) == set(ids)
    with psycopg.connect(server.conninfo, options=session_options("executions")) as connection:
        cursor = connection.execute((SPAN + IN_ORDER).encode(), (0, 10_000_000), binary=True)
        owners = Owners(EventRow(*row) for row in cursor.fetchall())
    assert all(len(of_one) == 1 for of_one in owners.claims.values())


def test_waiting_claims_get_new_executions_in_order(
    api: httpx.Client, catalog: Catalog, server: Serving
) -> None:
    async def line() -> list[str]:
        url = f"{server.url}/api"
        async with httpx.AsyncClient(base_url=url, headers=AUTHORIZED, timeout=60) as client:
            waiting = []
            for n in range(5):
                body = {"worker": f"w-{n}", "wait": 30}
                claim = client.post("/executions/claim", json=body)
                waiting.append(asyncio.create_task(claim))
                await until_waiting(server, n + 1)
            await asyncio.to_thread(queue, api, catalog, "line", 5)
            return [(await claim).json()["$id"] for claim in waiting]

    assert asyncio.run(line()) == [f"line-{n}" for n in range(5)]


def test_claim_of_a_disconnected_worker_takes_no_execution(
    api: httpx.Client, catalog: Catalog, server: Serving
) -> None:
    async def leave() -> None:
        url = f"{server.url}/api"
        async with httpx.AsyncClient(base_url=url, headers=AUTHORIZED, timeout=60) as client:
            body = {"worker": "w-gone", "wait": 30}
            gone = asyncio.create_task(client.post("/executions/claim", json=body))
            await until_waiting(server, 1)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        await until_waiting(server, 0)

    asyncio.run(leave())
    ids = queue(api, catalog, "left", 1)
    assert ok(api.get(f"/executions/{ids[0]}"))["status"] == "queued"
    assert ok(api.post("/executions/claim", json={"worker": "w-1"}))["$id"] == ids[0]


async def test_rank_of_a_claim_is_counted_among_claims_with_its_filter() -> None:
    claimers, filters = Claimers(10), [ClaimFilter(service="a"), ClaimFilter(service="b")]
    message: Any = None  # nothing is sent
    first, second = Claimer(filters[0], message), Claimer(filters[0], message)
    other = Claimer(filters[1], message)
    for each in (first, second, other):
        claimers.join(each)
    assert [claimers.place(each) for each in (first, second, other)] == [1, 2, 1]
    assert claimers.next(filters[0]) is first
    assert [claimers.place(each) for each in (first, second)] == [1, 1]


def test_claims_beyond_the_limit_are_refused(
    api: httpx.Client, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.system.dispatcher._claimers, "_limit", 0)
    answer = api.post("/executions/claim", json={"worker": "w-1", "wait": 5})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_waiting_claims_are_refused_when_the_server_stops(database: str) -> None:
    async def wait_and_stop(server: Serving) -> httpx.Response:
        url = f"{server.url}/api"
        async with httpx.AsyncClient(base_url=url, headers=AUTHORIZED, timeout=60) as client:
            body = {"worker": "w-1", "wait": 60}
            claim = asyncio.create_task(client.post("/executions/claim", json=body))
            await until_waiting(server, 1)
            server.ask_to_stop()
            return await claim

    with serving(database) as server:
        answer = asyncio.run(wait_and_stop(server))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_claim_that_loses_its_execution_while_the_server_stops_is_refused() -> None:
    nothing: Any = None

    async def lose() -> Claimer:
        dispatcher = ClaimDispatcher(nothing, nothing, nothing)
        claimer = Claimer(ClaimFilter(), nothing)
        dispatcher.close()
        dispatcher.turn_back(claimer)
        return claimer

    assert isinstance(asyncio.run(lose()).future.exception(), Overloaded)


def test_claim_uses_a_priority_that_was_just_changed(api: httpx.Client, catalog: Catalog) -> None:
    ids = queue(api, catalog, "changed", 3)
    ok(api.patch(f"/executions/{ids[2]}", json={"priority": "urgent"}))
    claims = [ok(api.post("/executions/claim", json={"worker": "w-1"}))["$id"] for _ in ids]
    assert claims == [ids[2], ids[0], ids[1]]
