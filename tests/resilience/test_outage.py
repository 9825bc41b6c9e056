"""While the database is away, requests are refused within seconds; nothing is lost, and the service recovers by itself."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from api.embedded_postgres.server import EmbeddedPostgres
from api.server import GRACE
from tests.support.load import assert_log_contains, assert_views_follow, under_load
from tests.support.outage_probes import TimedResponse, ask, assert_away
from tests.support.postgres_proxy import proxied
from tests.support.service_process import Service, serving, signal_all

BACK = 10

pytestmark = pytest.mark.anyio


@contextmanager
def freeze(pids: list[int]) -> Iterator[None]:
    """The processes are stopped while the block runs, as on a hanging machine."""
    signal_all(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(pids, signal.SIGCONT)


async def test_requests_are_refused_in_time_while_postgres_hangs(
    service: Service, thorough: bool
) -> None:
    async with under_load(service, "frozen", thorough=thorough) as load:
        with freeze(service.postgres()):
            await asyncio.sleep(0.2)
            await assert_away(service, 20 if thorough else 4)
            assert load.refusals
        await asyncio.to_thread(service.wait_until_ready, BACK)
        await load.answered(50)
    assert all(refusal.headers["retry-after"] for refusal in load.refusals)
    assert_log_contains(service.events(), load.answers)
    await assert_views_follow(service)


async def test_requests_are_refused_in_time_while_postgres_is_stopped(
    postgres_root: Path, postgres_bin: Path | None, thorough: bool
) -> None:
    database = EmbeddedPostgres(postgres_root, bin_dir=postgres_bin)
    with database, serving(database.conninfo()) as service:
        async with under_load(service, "stopped", thorough=thorough) as load:
            database.__exit__()
            await assert_away(service, 20 if thorough else 3)
            known = await readiness_while_away(service)
            assert known.seconds < 1
            database.__enter__()
            await asyncio.to_thread(service.wait_until_ready, BACK)
            await load.answered(50)
        assert_log_contains(service.events(), load.answers)
        await assert_views_follow(service)
        lines = log_of(service)
    # One of the server, and one of the work process.
    began = [line for line in lines if line["event"] == "the database is away"]
    ended = [line for line in lines if line["event"] == "the database is back"]
    assert 1 <= len(ended) <= len(began) <= 2
    assert max(line["refused"] for line in ended) > 0
    assert [line for line in lines if line["event"] == "batch refused"] == []


def log_of(service: Service) -> list[dict[str, Any]]:
    """The log of the server."""
    return [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]


async def readiness_while_away(service: Service) -> TimedResponse:
    async with httpx.AsyncClient(base_url=service.url) as client:
        return await ask(client, "GET", "/readyz")


async def test_server_whose_database_hangs_ends_when_asked_to(
    database: str, postgres_root: Path
) -> None:
    async with proxied(database) as proxy:
        service = Service(postgres_root, proxy.conninfo)
        await asyncio.to_thread(service.start)
        async with under_load(service, "ending"):
            pass
        proxy.freeze()
        begun = monotonic()
        assert await asyncio.to_thread(service.terminate) == 0
        assert monotonic() - begun < GRACE
