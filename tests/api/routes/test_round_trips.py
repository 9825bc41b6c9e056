"""The number of database queries of a read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.api_client import Executions
from tests.support.running_server import Serving

Ask = Callable[..., list[str]]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch, server: Serving, api: httpx.Client) -> Ask:
    """The statements of a request over the store's connections for reads."""
    asked: list[tuple[Any, str]] = []
    execute = psycopg.AsyncConnection.execute

    async def record_and_execute(connection: Any, query: Any, *values: Any, **how: Any) -> Any:
        if connection in pool:
            asked.append((asyncio.current_task(), str(query)))
        return await execute(connection, query, *values, **how)

    pool: set[Any] = set()
    reader = server.system.store.connections.reader

    def ask(path: str, **query: str | int) -> list[str]:
        asked.clear()
        assert api.get(path, params=query).is_success
        reading = {task for task, query in asked if "AS wanted" in query}
        return [
            query for task, query in asked if task in reading
        ]  # other tasks query the head, too

    def counted_reader() -> Any:
        return CountedConnection(reader(), pool)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", record_and_execute)
    monkeypatch.setattr(server.system.store.connections, "reader", counted_reader)
    return ask


class CountedConnection:
    """A connection of the pool whose statements are recorded while it is in use."""

    def __init__(self, lent: Any, pool: set[Any]) -> None:
        self._lent, self._pool = lent, pool

    async def __aenter__(self) -> Any:
        self._connection = await self._lent.__aenter__()
        self._pool.add(self._connection)
        return self._connection

    async def __aexit__(self, *error: object) -> Any:
        self._pool.discard(self._connection)
        return await self._lent.__aexit__(*error)


@pytest.fixture
def cold(server: Serving, running_execution: str) -> str:
    """An execution whose data key is not cached in this process."""
    server.system.store.keyring.forget()
    return running_execution


@pytest.mark.parametrize(
    ("path", "query", "trips"),
    [
        ("/status", {}, 1),
        ("/status", {"version": 2}, 1),
        ("", {"version": 2}, 1),
        ("/status", {"version": 2, "minPosition": 1}, 1),
        ("/status", {"at": "2999-01-01T00:00:00Z"}, 1),
        ("/steps", {"limit": 10}, 1),
        ("/order", {}, 2),
        ("/order", {"version": 2}, 2),
        ("", {"version": 2, "expand": "order,service,customer"}, 2),
        ("", {}, 3),  # for the state, the last heartbeat and the log lines
    ],
)
def test_read_takes_a_fixed_number_of_queries(
    statements: Ask, cold: str, path: str, query: dict[str, str | int], trips: int
) -> None:
    assert len(statements(f"/executions/{cold}{path}", **query)) == trips


def test_catalog_entry_is_read_in_one_query(statements: Ask, executions: Executions) -> None:
    assert len(statements("/services/sdr-service")) == 1
