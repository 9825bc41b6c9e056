"""Each rule about measurements of a log finds its own problem, and nothing in a healthy log."""

from __future__ import annotations

from typing import Any

import pytest

from domain.eventlog.store import Store
from projections.diagnosis.findings import findings
from projections.diagnosis.measurements import (
    KeySize,
    Measurements,
    ServerState,
    TableSize,
    ViewState,
    WebhookCalls,
    measure,
)
from projections.engine.migrations import migrate_projections
from projections.timers.projection import Timers
from tests.support.event_writer import Log, opened, some

GIB = 1024**3
SERVER = ServerState(5, 0.1, 0, 1_000, 0, 0)
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "max_connections": "100",
    "server_version": "18.0",
}
WELL = Measurements(
    100_000,
    [TableSize("events", 40_000_000, 10_000_000, 100_000, 0)],
    [ViewState("executions", 99_990, 0)],
    SETTINGS,
    SERVER,
    0,
    disk_free=50 * GIB,
)


@pytest.mark.parametrize(
    "key", [KeySize(75 * 10**7, 27), KeySize(87 * 10**7, 48), KeySize(87 * 10**7, 0)]
)
def test_key_of_the_events_may_have_some_holes(key: KeySize) -> None:
    assert findings(WELL._replace(head=10**7, views=[], key=key)) == []
    assert findings(WELL._replace(head=10**6, views=[], key=key._replace(bytes=10**9))) == []


def test_healthy_log_has_no_findings() -> None:
    assert findings(WELL) == []
    assert findings(WELL._replace(disk_free=None)) == []


def test_indexes_and_idempotency_keys_do_not_count_as_size_of_events() -> None:
    young = [
        TableSize("events", 36 * 10**5, 50 * 10**5, 10_001, 0),
        TableSize("idempotency_keys", 80 * 10**5, 20 * 10**5, 10_001, 0),
    ]
    assert findings(WELL._replace(head=10_001, tables=young, views=[])) == []


@pytest.mark.parametrize(
    ("change", "severity", "word"),
    [
        ({"audit_faults": 3}, "damaged", "the auditor has found 3 places"),
        ({"server": SERVER._replace(checksum_failures=2)}, "damaged", "checksum"),
        ({"settings": SETTINGS | {"fsync": "off"}}, "damaged", "fsync"),
        ({"settings": SETTINGS | {"synchronous_commit": "off"}}, "damaged", "synchronous_commit"),
        ({"views": [ViewState("executions", 100_001, 0)]}, "damaged", "ahead of the log"),
        ({"views": [ViewState("executions", 100_000, 3)]}, "damaged", "3 events"),
        ({"views": [ViewState("executions", 10, 0)]}, "late", "99990 events behind"),
        ({"overdue": (3, 600.0)}, "late", "3 timers are overdue, the first for 10 minutes"),
        ({"server": SERVER._replace(oldest_transaction=7_200.0)}, "late", "120 minutes"),
        ({"server": SERVER._replace(transaction_age=1_900_000_000)}, "late", "1900000000"),
        ({"settings": SETTINGS | {"autovacuum": "off"}}, "late", "autovacuum"),
        ({"server": SERVER._replace(waiting_locks=4)}, "slow", "4 requests"),
        ({"server": SERVER._replace(connections=95)}, "slow", "95 of 100"),
        ({"disk_free": GIB}, "large", "1.0 GiB left"),
        ({"server": SERVER._replace(idle_slots=1)}, "large", "replication slots"),
        ({"tables": [TableSize("executions", 1, 1, 20_000, 19_000)]}, "large", "dead rows"),
        ({"webhooks": WebhookCalls(3, 1, 4.0)}, "late", "calls of 1 webhook fail"),
        (
            {"webhooks": WebhookCalls(13_643, 0, 977.0)},
            "late",
            "13643 events wait for webhooks, the",
        ),
        ({"archive_missing": ["a.parquet"]}, "damaged", "1 archive file is missing or cut short"),
        ({"tables": [TableSize("events", 200 * 10**6, 0, 100_000, 0)]}, "large", "2000 bytes"),
        (
            {"head": 10**7, "views": [], "key": KeySize(87 * 10**7, 27)},
            "large",
            "takes 0.8 GiB, and made again 0.5",
        ),
        ({"expired_replies": 20_000}, "large", "idempotency keys"),
    ],
)
def test_rule_finds_its_problem(change: dict[str, Any], severity: str, word: str) -> None:
    [found] = findings(WELL._replace(**change))
    assert found.severity == severity
    assert word in found.what
    assert found.advice


@pytest.mark.anyio
async def test_measurements_are_those_of_the_log(database: str) -> None:
    migrate_projections(database, "executions", [Timers()])
    async with opened(database) as store:
        await Log(store).write(some(3))
        await _analyze(store)
        measured = await measure(store)
    assert measured.head == 3
    assert measured.table("events").rows == 3
    assert measured.table("events").bytes > 0
    assert measured.bytes >= measured.table("events").bytes
    assert measured.key.bytes > 0
    assert measured.key.name_bytes > len("execution/")
    assert measured.settings["fsync"] in ("on", "off")
    assert measured.server.connections >= 1


async def _analyze(store: Store) -> None:
    async with store.reader() as connection:
        await connection.execute("ANALYZE events")
