"""Verification finds every change of every column of a view, and a rebuild repairs it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import product
from time import monotonic, sleep
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from domain import registry
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.integrity.fault import Fault
from projections.engine import rebuild as rebuilding
from projections.engine.parallel_rebuild import Processes
from projections.engine.projection import Projection
from projections.engine.rebuild import Rebuilt, rebuild
from projections.engine.verification import comparison
from projections.engine.verification.verify import (
    ALL,
    PURPOSE,
    LogVerification,
    MadeAnew,
    Work,
    verify,
)
from projections.registry import all_projections
from tests.support.api_client import ERROR, JSON, POLICY, RESULT, ok
from tests.support.databases import new_database
from tests.support.event_writer import new_store
from tests.support.rebuilds import Several
from tests.support.running_server import MASTER_KEY, serving
from tests.support.tampering import other_value

VIEWS = {view.name: view for view in all_projections(registry.codec())}
UNFOUNDED, MISSING = "there is a row, but no events lead to it", "there is no row"
OF_STATUS = """CASE {0} WHEN 'failed' THEN 'completed' WHEN 'completed' THEN 'failed'
    WHEN 'cancelled' THEN 'failed' WHEN 'running' THEN 'paused' ELSE 'running' END"""
OF_STEP = """CASE {0} WHEN 'failed' THEN 'completed' WHEN 'running' THEN 'pending'
    WHEN 'pending' THEN 'running' ELSE 'failed' END"""
STATUSES = {"executions": OF_STATUS, "analytics_facts": OF_STATUS, "analytics_steps": OF_STEP}
"""Open executions and those that have ended are in different tables."""
COLUMNS = """SELECT a.attname, t.typname, a.attnum = ANY(i.indkey)
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    LEFT JOIN pg_partitioned_table AS parted ON parted.partrelid = a.attrelid
    JOIN LATERAL (SELECT indkey FROM pg_index WHERE indisunique AND (indrelid = a.attrelid
            OR indrelid IN (SELECT relid FROM pg_partition_tree(a.attrelid)))
        ORDER BY indisprimary DESC LIMIT 1) AS i ON true
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attnum = ANY(parted.partattrs)) IS NOT TRUE ORDER BY a.attnum"""
ENDS: tuple[Callable[[str], tuple[str, dict[str, Any]]], ...] = (
    lambda _: ("complete", RESULT),
    lambda _: ("cancel", {"reason": "why"}),
    lambda _: ("fail", ERROR),
    lambda _: ("progress", {"progress": 40}),
    lambda _: ("pause", {"reason": "lunch"}),
)


def write(api: httpx.Client) -> None:
    """Write a catalog, and executions of each kind."""
    for name in ("acme", "outreach"):
        ok(api.post("/users", json={"$id": name, "name": name, "kind": "organization"}))
    steps = [{"id": "a", "name": "A"}, {"id": "b", "name": "B"}]
    ok(api.post("/workflows", json={"$id": "flow", "name": "Flow", "steps": steps}))
    service = {"$id": "sdr", "name": "Leads", "provider": "outreach", "workflow": "flow"}
    ok(api.post("/services", json=service))
    order = {"service": "sdr", "customer": "acme", "params": {"a": 1}}
    for number in range(3):
        ok(api.post("/orders", json={"$id": f"order-{number}", **order}))
    ok(api.post("/orders/order-2/cancel", json={}))
    for number in range(20):
        _write_execution(api, f"run-{number:02}", number)
    ok(api.post("/executions", json={"$id": "claimed", "order": "order-0", "service": "sdr"}))
    ok(api.post("/executions/claim", json={"worker": "w-1", "lease": 3_600_000}))
    webhook = ok(api.post("/webhooks", json={"url": "http://127.0.0.1:9/", "events": ["*"]}))
    ok(api.post(f"/webhooks/{webhook['$id']}/rotate"))
    ok(api.post(f"/webhooks/{webhook['$id']}/disable"))


def _write_execution(api: httpx.Client, name: str, number: int) -> None:
    path, policy = f"/executions/{name}", POLICY if number % 2 else None
    assignee = {"type": "ai-agent", "id": "claude", "name": "Claude", "model": f"m-{number % 3}"}
    body: JSON = {"$id": name, "order": "order-0", "service": "sdr", "status": "running"}
    if number % 4 == 0:  # refused at once: a loopback address
        body["webhooks"] = [{"url": "http://127.0.0.1:9/", "events": ["*"]}]
    body |= {"tags": ["eu"], "metadata": {"n": number}, "assignee": assignee}
    ok(api.post("/executions", json=body | ({"retryPolicy": policy} if policy else {})))
    ok(api.post(f"{path}/steps/a/start", json={"input": {"a": 1}}))
    ok(api.post(f"{path}/metrics", json={"tokensUsed": 5, "cost": 0.25, "step": "a"}))
    ok(api.post(f"{path}/steps/a/complete", json={"output": [1]}))
    ok(api.post(f"{path}/steps/b/start"))
    command, content = ENDS[number % len(ENDS)](name)
    ok(api.post(f"{path}/{command}", json=content))


@pytest.fixture(scope="module")
def written(postgres: Any, admin: psycopg.Connection) -> Iterator[str]:
    """A database that a server has written to, and whose views have followed to the end."""
    with new_database(admin) as name:
        conninfo = postgres.conninfo(name)
        with serving(conninfo) as server, server.client() as api:
            write(api)
            deadline = monotonic() + 30
            while any(view["lag"] for view in ok(api.get("/readyz"))["views"].values()):
                assert monotonic() < deadline
                sleep(0.05)
        yield conninfo


def connect(conninfo: str) -> psycopg.Connection:
    return psycopg.connect(conninfo, autocommit=True, options=session_options("executions"))


def ask(conninfo: str, query: Any, *values: object) -> list[tuple[Any, ...]]:
    with connect(conninfo) as connection:
        return answer(connection, query, *values)


def answer(connection: psycopg.Connection, query: Any, *values: object) -> list[tuple[Any, ...]]:
    cursor = connection.execute(query, values)
    return cursor.fetchall() if cursor.description else []


def view_of(name: str) -> Projection:
    [view] = [view for view in all_projections(registry.codec()) if view.name == name]
    return view


async def _opened(conninfo: str, work: Callable[[Store], Any]) -> Any:
    store = new_store(conninfo)
    await store.open()
    try:
        return await work(store)
    finally:
        await store.close()


def find_faults(
    conninfo: str, name: str, verification: LogVerification | None = None
) -> list[Fault]:
    async def work(store: Store) -> list[Fault]:
        views = Work([view_of(name)])
        return [f async for f in verify(conninfo, store, views, verification or LogVerification())]

    found: list[Fault] = asyncio.run(_opened(conninfo, work))
    return found


def rebuilt(conninfo: str, name: str) -> Rebuilt:
    async def work(store: Store) -> Rebuilt:
        return await rebuild(conninfo, "executions", view_of(name), store)

    done: Rebuilt = asyncio.run(_opened(conninfo, work))
    return done


class Table(NamedTuple):
    key: list[str]
    columns: dict[str, str]


def table_of(connection: psycopg.Connection, name: str) -> Table:
    columns = answer(connection, COLUMNS.encode(), name)
    key = [column for column, _, of_key in columns if of_key]
    return Table(key, {column: kind for column, kind, of_key in columns if not of_key})


def change_each_column(
    connection: psycopg.Connection, name: str, compared: str
) -> dict[str, set[str]]:
    """Change every column in some compared row that has a value there; returns which, by the shown keys."""
    table, changed = table_of(connection, name), defaultdict[str, set[str]](set)
    key = SQL(", ").join(map(Identifier, table.key))
    for number, (column, kind) in enumerate(table.columns.items()):
        find = SQL("SELECT {}, {} IS NULL FROM {} WHERE {} ORDER BY {} IS NULL, {}").format(
            key, Identifier(column), Identifier(name), SQL(compared), Identifier(column), key
        )
        rows = answer(connection, find)
        full = sum(not empty for *_, empty in rows)
        *row, _ = rows[number % (full or len(rows))]
        change = other_value(kind)
        if column == "status":
            change = STATUSES.get(name.rpartition("_")[0], change)
        other = SQL(change).format(Identifier(column))
        where = SQL(" AND ").join(SQL("{} = %s").format(Identifier(one)) for one in table.key)
        answer(
            connection,
            SQL("UPDATE {} SET {} = {} WHERE {}").format(
                Identifier(name), Identifier(column), other, where
            ),
            *row,
        )
        changed[f"{name} {'/'.join(map(str, row))}"].add(column)
    return changed


@pytest.mark.parametrize("view", VIEWS)
def test_view_that_followed_live_has_no_faults(written: str, view: str) -> None:
    verification = LogVerification()
    assert find_faults(written, view, verification) == []
    [verified] = verification.views
    assert verified.rows > 0
    assert verified.position == verified.head > 0


@pytest.mark.parametrize("view", VIEWS)
def test_every_changed_column_is_named_and_repaired_by_a_rebuild(written: str, view: str) -> None:
    changed: dict[str, set[str]] = {}
    with connect(written) as connection:
        for table, compared in VIEWS[view].compared.items():
            changed |= change_each_column(connection, table, compared)
    found = {fault.place: fault.what for fault in find_faults(written, view)}
    assert found.keys() == changed.keys()
    for place, columns in changed.items():
        assert set(found[place].removeprefix("differs in ").split(", ")) == columns
    assert rebuilt(written, view).parked == 0
    assert find_faults(written, view) == []


@pytest.mark.parametrize("view", VIEWS)
def test_missing_and_extra_rows_are_named_whatever_the_portions(
    written: str, view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(written) as connection:
        for table, compared in VIEWS[view].compared.items():
            move_last_row(connection, table, compared)
    for rows in (1_000, 2):
        monkeypatch.setattr(comparison, "ROWS", rows)
        found = [(fault.place.split()[0], fault.what) for fault in find_faults(written, view)]
        assert sorted(found) == sorted(product(VIEWS[view].compared, (UNFOUNDED, MISSING)))
    rebuilt(written, view)
    assert find_faults(written, view) == []


def move_last_row(connection: psycopg.Connection, table: str, compared: str) -> None:
    """Give the last compared row a key that no event has."""
    key = table_of(connection, table).key
    ordered = SQL(", ").join(SQL("{} DESC").format(Identifier(one)) for one in key)
    last = SQL("SELECT tableoid, ctid FROM {} WHERE {} ORDER BY {} LIMIT 1").format(
        Identifier(table), SQL(compared), ordered
    )
    other = "{} + 1000000" if key[0] == "created" else "{} || '-none'"
    answer(connection, SQL("UPDATE {} SET {} = {} WHERE (tableoid, ctid) = ({})").format(
        Identifier(table), Identifier(key[0]), SQL(other).format(Identifier(key[0])), last
    ))  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_lost_bookmark_is_named_and_repaired_by_a_rebuild(written: str, view: str) -> None:
    ask(written, b"DELETE FROM bookmarks WHERE view = %s", view)
    [fault] = find_faults(written, view)
    assert fault.place == "bookmark"
    rebuilt(written, view)
    assert find_faults(written, view) == []


@pytest.mark.parametrize("view", VIEWS)
def test_bookmark_ahead_of_the_log_is_named_and_repaired_by_a_rebuild(
    written: str, view: str
) -> None:
    ask(written, b"UPDATE bookmarks SET position = position + 1000 WHERE view = %s", view)
    [fault] = find_faults(written, view)
    assert fault.place == "bookmark"
    assert "the log ends at" in fault.what
    rebuilt(written, view)
    assert find_faults(written, view) == []


def test_lagging_view_is_compared_up_to_its_bookmark(written: str) -> None:
    [(head,)] = ask(written, b"SELECT position FROM head")
    ask(written, b"UPDATE bookmarks SET position = 5 WHERE view = 'catalog'")
    verification = LogVerification()
    found = find_faults(written, "catalog", verification)
    [verified] = verification.views
    assert (verified.position, verified.head) == (5, head)
    assert {fault.what for fault in found} >= {"there is a row, but no events lead to it"}
    rebuilt(written, "catalog")


def test_missing_or_changed_table_is_named(written: str) -> None:
    ask(written, b"UPDATE bookmarks SET form = 'other' WHERE view = 'catalog'")
    assert [fault.place for fault in find_faults(written, "catalog")] == ["bookmark"]
    rebuilt(written, "catalog")
    ask(written, b"DROP TABLE catalog")
    assert [fault.what for fault in find_faults(written, "catalog")] == ["there is no such table"]
    rebuilt(written, "catalog")
    assert find_faults(written, "catalog") == []


def test_rebuild_during_a_verification_ends_it(written: str) -> None:
    async def work(store: Store) -> None:
        found = verify(written, store, Work([view_of("logs")]), LogVerification())
        await anext(found)
        await rebuild(written, "executions", view_of("logs"), store)
        async for _ in found:
            pass

    ask(written, b"DELETE FROM log_notes WHERE id = (SELECT min(id) FROM log_notes)")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(comparison, "ROWS", 1)
    with monkeypatch.context(), pytest.raises(MadeAnew):
        asyncio.run(_opened(written, work))
    monkeypatch.undo()


def test_verification_leaves_nothing_behind(written: str) -> None:
    find_faults(written, "catalog")
    names = ask(written, b"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'executions_%%'")
    assert names == []
    assert rebuilding.scratch_schema("executions", ALL, PURPOSE).startswith("executions_")


def test_several_processes_report_the_same_faults_in_the_same_order(
    written: str,
    postgres: Any,
    admin: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    several: Several,
) -> None:
    monkeypatch.setattr(rebuilding, "SHARED", 10)
    monkeypatch.setattr(rebuilding, "PAGE", 20)
    with new_database(admin, template=str(conninfo_to_dict(written)["dbname"])) as name:
        conninfo = postgres.conninfo(name)
        for statement in DAMAGES:
            ask(conninfo, statement.encode())
        by_one, by_three = (
            find_all_faults(conninfo, processes) for processes in (None, several(3))
        )
    assert by_three == by_one
    parts = [fault.part for fault in by_one]
    assert parts == sorted(parts, key=["log", *VIEWS].index)
    assert set(parts) == {"log", *VIEWS}
    positions = [fault.position for fault in by_one if fault.part == "log" and fault.position]
    assert positions == sorted(positions)
    assert {fault.what for fault in by_one} >= {
        "there are no such events",
        "has sealed content, and its stream has no data key",
        MISSING,
    }


DAMAGES = (
    "ALTER TABLE events DISABLE TRIGGER append_only",
    "UPDATE events SET state = '{' WHERE mod(notification_id, 9) = 0",
    "DELETE FROM events WHERE notification_id IN (50, 51, 71)",
    "DELETE FROM data_keys WHERE originator_id LIKE 'execution/run-_5'",
    "UPDATE catalog SET shown = 'x' WHERE id = 'acme'",
    "UPDATE analytics_totals SET cost = cost + 1",
    "UPDATE claims SET rank = 9",
    "DELETE FROM log_notes WHERE execution = 'run-01'",
)


def find_all_faults(conninfo: str, processes: Processes | None) -> list[Fault]:
    async def work(store: Store) -> list[Fault]:
        work = Work(all_projections(store.codec), processes, MASTER_KEY)
        return [fault async for fault in verify(conninfo, store, work, LogVerification())]

    found: list[Fault] = asyncio.run(_opened(conninfo, work))
    return found


def test_every_table_that_a_rebuild_replaces_is_compared() -> None:
    for view in VIEWS.values():
        # Rows are in the partitions of these; open executions are compared in whichever they are.
        whole = {"executions", "analytics_facts", "analytics_steps"}
        parts = {"executions_active", "executions_resting"}
        assert set(view.compared) == set(view.tables) - whole - parts
