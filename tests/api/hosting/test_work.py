"""Background work for many logs in one process, with few connections."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import psycopg
import pytest

from api.cells.registry import LogLocation, LogRegistry
from tests.api.hosting.conftest import execution
from tests.support.api_client import ERROR, ok
from tests.support.running_server import Serving, serving
from tests.support.waiting import wait_until

LOGS = tuple(f"log{number}" for number in range(4))
UNHEARD = """WITH moved AS (UPDATE {0}.head SET position = position + 1 RETURNING position, at)
    INSERT INTO {0}.events SELECT position, 1, at, 'user/unheard', 'user.created', '{{"by":"x"}}',
        '{{"name": "Ann", "kind": "person"}}' FROM moved RETURNING notification_id"""
ANCHORS = "SELECT count(*) FROM {0}.events WHERE topic = 'access.anchored'"
BEHIND = "SELECT count(*) FROM {0}.bookmarks WHERE view = 'catalog' AND position < %s"
POLICY = {"maxRetries": 1, "backoff": "linear", "initialDelay": 300, "maxDelay": 300}


@pytest.fixture(scope="module")
def server_with_work(
    module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    folder, patch = tmp_path_factory.mktemp("hosting"), pytest.MonkeyPatch()
    patch.setattr("workers.log_ownership.CHECK_INTERVAL", 1.0)
    patch.setattr("workers.access_anchors.EVERY", timedelta(seconds=1))
    registry = LogRegistry(folder / "logs.json")
    registry.put("broken", LogLocation.of("broken", url="host=127.0.0.1 port=9 dbname=x"))
    for name in LOGS:
        registry.put(name, LogLocation.of(name))
    with serving(
        module_database,
        data_dir=folder,
        log_name="main",
        logs=registry.file,
        database_connections=4,
    ) as running:
        yield running
    patch.undo()
    gc.collect()  # closes a connection that was being made, which would delay the drop of the database


def create_retried(api: httpx.Client, identity: str) -> None:
    """Create an execution whose first attempt fails and is retried soon."""
    execution(api, f"{identity}-first")
    body = {"$id": identity, "order": "order-1", "service": "sdr", "retryPolicy": POLICY}
    ok(api.post("/executions", json=body))
    ok(api.post(f"/executions/{identity}/start"))
    ok(api.post(f"/executions/{identity}/fail", json=ERROR))


def test_timer_of_each_log_is_fired_and_its_views_and_its_tree_follow(
    server_with_work: Serving,
) -> None:
    clients = [server_with_work.client(name) for name in LOGS]
    try:
        for api in clients:
            create_retried(api, "run")
        for api in clients:
            wait_until(lambda api=api: ok(api.get("/executions/run"))["status"] == "running")  # type: ignore[misc]
        for api in clients:
            position = ok(api.get("/readyz"))["position"]
            found = ok(api.get(f"/executions?status=running&minPosition={position}"))["data"]
            assert [each["$id"] for each in found] == ["run"]
            wait_until(lambda api=api: _size(api) >= position)  # type: ignore[misc]  # noqa: B023 - called within this iteration
    finally:
        for api in clients:
            api.close()


def _size(api: httpx.Client) -> int:
    answer = api.get("/audit/tree-head")
    return int(answer.json()["treeSize"]) if answer.status_code == 200 else 0


def test_idle_work_of_a_log_among_many_has_an_owner(server_with_work: Serving) -> None:
    with server_with_work.client(LOGS[0]) as api:
        wait_until(lambda: "withoutOwner" not in ok(api.get("/readyz")))


def test_idle_work_for_many_logs_has_no_connections(
    server_with_work: Serving,
) -> None:
    def of_logs() -> int:
        with psycopg.connect(server_with_work.conninfo) as connection:
            row = connection.execute(
                """SELECT count(*) FROM pg_stat_activity AS a WHERE datname = current_database()
                    AND EXISTS (SELECT FROM pg_locks AS l CROSS JOIN unnest(%s::text[]) AS log
                        WHERE l.pid = a.pid AND l.locktype = 'advisory'
                        AND l.objid::bigint <> hashtext('all work')::bigint & 4294967295
                        AND l.classid::bigint IN (
                            SELECT hashtext(work || ' of ' || log)::bigint & 4294967295
                            FROM unnest(%s::text[]) AS work))""",
                ([f"executions_{name}" for name in LOGS], ["timers", "leases", "views", "audit"]),
            ).fetchone()
        return int(row[0]) if row else 0

    wait_until(lambda: of_logs() == 0)


def test_command_wakes_idle_work(server_with_work: Serving) -> None:
    time.sleep(1)  # by then the work is idle
    with server_with_work.client(LOGS[1]) as api:
        create_retried(api, "later")
        wait_until(lambda: ok(api.get("/executions/later"))["status"] == "running")


def test_work_finds_an_event_without_a_notification(server_with_work: Serving) -> None:
    schema = f"executions_{LOGS[2]}"
    with server_with_work.client(LOGS[2]) as api:
        ok(api.get("/readyz"))
    with psycopg.connect(server_with_work.conninfo, autocommit=True) as connection:
        row = connection.execute(UNHEARD.format(schema).encode()).fetchone()
        behind = BEHIND.format(schema).encode()
        wait_until(lambda: connection.execute(behind, row).fetchone() == (0,))


def test_reads_of_a_log_among_many_are_anchored(server_with_work: Serving) -> None:
    schema = f"executions_{LOGS[3]}"
    anchors = ANCHORS.format(schema).encode()
    with (
        server_with_work.client(LOGS[3]) as api,
        psycopg.connect(server_with_work.conninfo, autocommit=True) as connection,
    ):
        wait_until(lambda: ok(api.get("/executions")) and _count(connection, anchors) >= 2)


def _count(connection: psycopg.Connection, query: bytes) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
