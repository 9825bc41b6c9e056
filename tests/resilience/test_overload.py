"""More commands than the queue holds, and clients that disconnect in the middle of a request."""

from __future__ import annotations

import asyncio
from asyncio import as_completed
from collections.abc import Iterator
from itertools import islice

import httpx
import psycopg
import pytest

from tests.support.load import assert_log_contains, under_load
from tests.support.service_process import TOKEN, Service, serving

QUEUE = 20
CLIENTS = 150

HEAD = (
    "POST /api/executions HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    f"Authorization: Bearer {TOKEN}\r\nContent-Length: "
)
BODIES = (
    '{"order": "order-1", "service": "sdr"}',
    '{"order": "order-1", "service": "sdr", "metadata": {"note": "' + "x" * 5_000 + '"}}',
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def small(database: str) -> Iterator[Service]:
    """A service with a small queue of commands."""
    with serving(database, EXECUTIONS_QUEUE_LIMIT=str(QUEUE)) as service:
        yield service


async def test_commands_beyond_the_queue_are_refused_at_once_in_bounded_memory(
    small: Service, thorough: bool
) -> None:
    memory = 0
    for _ in range(20 if thorough else 2):
        with psycopg.connect(small.conninfo, options="-c search_path=executions") as holder:
            holder.execute("SELECT position FROM head FOR UPDATE")
            taken = asyncio.create_task(answer(small))
            await asyncio.sleep(0.3)
            sent = [asyncio.create_task(answer(small)) for _ in range(CLIENTS)]
            refused = [await first for first in islice(as_completed(sent), CLIENTS - QUEUE)]
            assert not taken.done()
        for response in refused:
            assert response.startswith("HTTP/1.1 503 ")
            assert "\r\nretry-after: 1\r\n" in response
            assert "/problems/overloaded" in response
        others = await asyncio.gather(taken, *sent)
        assert sum("/problems/unknown-reference" in other for other in others) == QUEUE + 1
        memory = memory or small.memory()
    assert small.memory() < memory + 30


async def answer(service: Service) -> str:
    """The whole answer to a command, as text."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(request(BODIES[1]).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return said.decode()


def request(body: str) -> bytes:
    return f"{HEAD}{len(body)}\r\n\r\n{body}".encode()


async def leave(service: Service, place: int) -> None:
    """Send half of a request, or a whole one, and disconnect without reading the answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    whole = request(BODIES[place % 2])
    writer.write(whole[: len(whole) // (1 + place % 3)])
    await writer.drain()
    writer.transport.abort()
    await asyncio.sleep(0)


async def test_clients_that_disconnect_mid_request_affect_no_others(small: Service) -> None:
    async with under_load(small, "leaving") as load:
        for place in range(90):
            await leave(small, place)
        await load.answered(100)
        async with httpx.AsyncClient(base_url=small.url) as client:
            assert (await client.get("/readyz")).status_code == 200
    assert "Traceback" not in small.log()
    assert_log_contains(small.events(), load.answers)
