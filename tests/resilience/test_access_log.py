"""Servers are killed while they are read: every answered read has its entry, and all servers share one chain."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from psycopg import AsyncConnection

from domain.eventlog.sessions import session_options
from projections.audit.access.check import access_faults, end_of
from tests.support.access_entries import detail, entries
from tests.support.service_process import AUTHORIZED, Service

pytestmark = pytest.mark.anyio
CLIENTS = 8
PAUSE = 0.02
"""Seconds between two reads of one reader: a restarting server needs the processors."""


class Readers:
    """Clients that read one execution repeatedly, and store the answers."""

    def __init__(self, urls: list[str], execution: str) -> None:
        self._urls = urls
        self._execution = execution
        self.answered: set[str] = set()

    async def read(self, number: int) -> None:
        url = self._urls[number % len(self._urls)]
        async with httpx.AsyncClient(headers=AUTHORIZED, timeout=5) as client:
            while True:
                correlation = uuid4().hex
                with suppress(httpx.TransportError):
                    answer = await client.get(
                        f"{url}/api/executions/{self._execution}/status",
                        headers={"X-Correlation-Id": correlation},
                    )
                    if answer.status_code == 200:
                        self.answered.add(correlation)
                await asyncio.sleep(PAUSE)


@asynccontextmanager
async def run_readers(urls: list[str], execution: str) -> AsyncIterator[Readers]:
    readers = Readers(urls, execution)
    tasks = [asyncio.create_task(readers.read(number)) for number in range(CLIENTS)]
    try:
        yield readers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def wait_for_answers(readers: Readers, number: int) -> None:
    goal = len(readers.answered) + number
    while len(readers.answered) < goal:  # noqa: ASYNC110 - nothing signals it
        await asyncio.sleep(0.05)


def created(service: Service, name: str) -> str:
    with httpx.Client(base_url=f"{service.url}/api", headers=AUTHORIZED, timeout=10) as api:
        api.post("/users", json={"$id": "acme", "name": "Acme", "kind": "organization"})
        api.post("/services", json={"$id": "sdr", "name": "Outreach", "provider": "acme"})
        api.post("/orders", json={"$id": "o-1", "service": "sdr", "customer": "acme"})
        api.post("/executions", json={"$id": name, "order": "o-1", "service": "sdr"})
    return name


async def faults(conninfo: str) -> list[str]:
    options = session_options("executions")
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, options=options
    ) as connection:
        end = await end_of(connection)
        return [str(each) async for each in access_faults(connection, end, lambda *_: None)]


async def test_server_killed_while_it_is_read_has_recorded_what_it_answered(
    service: Service,
) -> None:
    execution, rng = created(service, "read-1"), random.Random(7)
    async with run_readers([service.url], execution) as readers:
        for _ in range(2):
            await wait_for_answers(readers, 50)
            await asyncio.sleep(rng.uniform(0, 0.2))
            await asyncio.to_thread(service.kill)
            await asyncio.to_thread(service.start)
        await wait_for_answers(readers, 50)
    recorded = {each.correlation for each in entries(service.conninfo)}
    assert readers.answered <= recorded
    assert await faults(service.conninfo) == []


async def test_two_servers_of_one_log_record_in_one_chain(service: Service, tmp_path: Path) -> None:
    execution = created(service, "read-2")
    other = Service(tmp_path, service.conninfo, "--no-work")
    (tmp_path / "master.key").write_bytes((service.data / "master.key").read_bytes())
    (tmp_path / "master.key").chmod(0o600)
    await asyncio.to_thread(other.start)
    try:
        async with run_readers([service.url, other.url], execution) as readers:
            await wait_for_answers(readers, 100)
    finally:
        await asyncio.to_thread(other.terminate)
    assert readers.answered <= {each.correlation for each in entries(service.conninfo)}
    assert await faults(service.conninfo) == []


async def test_opening_of_a_stream_is_recorded_although_the_server_is_killed(
    service: Service,
) -> None:
    execution, correlation = created(service, "read-3"), uuid4().hex
    headers = {"Accept": "text/event-stream", "X-Correlation-Id": correlation, **AUTHORIZED}
    async with httpx.AsyncClient(headers=headers, timeout=10) as client:
        with suppress(httpx.TransportError):
            url = f"{service.url}/api/executions/{execution}/events"
            async with client.stream("GET", url) as stream:
                lines = stream.aiter_lines()
                await anext(lines)
                await asyncio.to_thread(service.kill)
                async for _ in lines:
                    pass
    await asyncio.to_thread(service.start)
    (opened,) = entries(service.conninfo, correlation)
    assert (detail(opened)["stream"], opened.executions) == ("opened", (execution,))
