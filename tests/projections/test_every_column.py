"""A change of any column of any table is found by a check, unless no other data has its value.

A new table or column without an answer here fails the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from domain import registry
from domain.eventlog.access.access_log import AccessLog
from domain.eventlog.access.entry import Access
from domain.eventlog.archive.files import ArchiveFiles
from domain.eventlog.encryption import Vault, WrongKey
from domain.eventlog.keys.rotation import RotationUnderWay
from domain.eventlog.migrations import settle_master_key
from domain.eventlog.sessions import session_options
from domain.eventlog.setup.log_secret import log_secret
from domain.execution.commands.erase import EraseExecution
from domain.execution.commands.progress import RecordUsage
from domain.integrity.histories import Histories
from domain.integrity.keys import key_faults
from domain.integrity.log_lines import line_faults
from domain.integrity.snapshots import snapshot_faults
from domain.writer.message import Message
from projections.audit.access.check import access_faults, end_of
from projections.audit.check import connect, head_faults, start, tree_faults
from projections.audit.note import Signer, origin_of
from projections.audit.tables import migrate_audit
from projections.engine.verification.verify import LogVerification, Work, verify
from projections.log_lines.archive.verify import check_archive
from projections.registry import all_projections
from tests.support.databases import new_database
from tests.support.event_writer import MASTER_KEY, opened
from tests.support.past_lines import NOON, SCHEMA, PastLines
from tests.support.tampering import other_value
from workers.tree_builder import TreeBuilder

SECRET = b"k" * 32
SAID_ONCE = ""
"""Only this column has the value: there is nothing to compare it with."""
KEYS = {"single": SAID_ONCE}
CHECKED: dict[str, dict[str, str]] = {
    "events": {
        "notification_id": "log",
        "originator_version": "log",
        "at": "log",
        "originator_id": "audit",
        "topic": "audit",
        "meta": "audit",
        "state": "audit",
    },
    "head": {
        "position": "log",
        "at": "log",
        "log_id": "audit",
        "log_name": SAID_ONCE,  # ids and `source` begin with it
        **KEYS,
    },
    "snapshots": {
        "originator_id": "snapshots",
        "originator_version": "snapshots",
        "position": "snapshots",
        "at": "snapshots",
        "state": "snapshots",
        "digest": "snapshots",
        "shape": SAID_ONCE,  # one of another form is ignored and replaced
    },
    "data_keys": {
        "originator_id": "log lines",  # its sealed content does not open any more
        "wrapped": "keys",
        "erased": "keys",
        "swept": SAID_ONCE,  # the remaining rows are swept again
    },
    "master_key": {"id": "start", "wrapped": "start", "secret": "start", "former": "start", **KEYS},
    "log_head": {"id": "log", **KEYS},
    "log_lines": {
        "execution": "log lines",
        "id": "log",
        "sealed": "log lines",
        "occurred_at": SAID_ONCE,  # as the worker wrote it; archived lines have a digest
        "at": SAID_ONCE,
        "level": SAID_ONCE,
        "step": SAID_ONCE,
    },
    "log_archives": {
        "file": "archive",
        "day": "archive",
        "first_id": "archive",
        "last_id": "archive",
        "lines": "archive",
        "bytes": "archive",
        "digest": "archive",
        "at": SAID_ONCE,
    },
    "log_archive_lines": {
        "execution": "archive",
        "file": "archive",
        "lines": "archive",
        "earliest": "archive",
        "latest": "archive",
    },
    "access_log": dict.fromkeys(
        (
            "id",
            "at",
            "actor",
            "credential",
            "operation",
            "executions",
            "address",
            "purpose",
            "correlation",
            "detail",
            "hash",
        ),
        "access log",
    ),
    "access_head": {"id": "access log", "hash": "access log", "at": "access log", **KEYS},
    "audit_tiles": {"level": "audit", "index": "audit", "hashes": "audit"},
    "audit_head": {
        **dict.fromkeys(("size", "root", "origin", "public_key", "note", "fault"), "audit"),
        "at": SAID_ONCE,
        **KEYS,
    },
}
"""The check that finds a change, by table and column."""
SAID_ELSEWHERE_NEVER = {
    "heartbeats": "a worker's last sign of life; a wrong one costs a lease at most",
    "key_uses": "when a key was last used",
    "idempotency_keys": "answers that are kept for a day",
    "trackings": "how far consumers of the library are",
    "application_snapshots": "of applications of the library, which make them again",
    "webhook_deliveries": "whom was called when",
    "webhook_lanes": "when the next call is due",
    "webhook_progress": "how webhooks stand",
    "webhook_head": "up to where calls were entered",
    "log_move": "how far a move of the log is, in the row of either database",
    "log_archive_place": "where the archive is",
    "audit_walk": "where the background auditor is",
    "audit_faults": "what it found in its last round, which finds it again",
    "audit_witnesses": "what witnesses have kept last, which they say themselves",
    "event_archives": "which events are in files: tests/workers/event_archive/test_verified.py",
    "event_archive_streams": "where they are there: tests/workers/event_archive/test_verified.py",
    "bookmarks": "how far views are: tests/projections/engine/test_verify.py",
    "parked": "what views could not apply, which a rebuild finds again",
}
OF_VIEWS = {table for view in all_projections(registry.codec()) for table in view.tables}
"""Each of their columns is changed in tests/projections/engine/test_verify.py."""
OTHER = {"sealed": "replace({0}, '.', '.AAAA')"}  # text added after a token is not part of it
PARTITION = ("log_lines_", "access_log_")
COLUMNS = """SELECT c.table_name, c.column_name, c.udt_name FROM information_schema.columns AS c
    JOIN information_schema.tables AS t USING (table_schema, table_name)
    WHERE c.table_schema = 'executions' AND t.table_type = 'BASE TABLE'"""
CHANGE = """UPDATE {table} SET {column} = {value}
    WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM {table} ORDER BY ctid DESC LIMIT 1)"""
CASES = [
    pytest.param((table, column), part, id=f"{table}.{column}")
    for table, columns in CHECKED.items()
    for column, part in columns.items()
    if part != SAID_ONCE
]


async def write(conninfo: str, folder: Path) -> None:
    """A log that has rows in each of the tables that are checked."""
    settle_master_key(conninfo, SCHEMA, lambda: MASTER_KEY, lambda: MASTER_KEY)
    migrate_audit(conninfo, SCHEMA)
    async with PastLines.opened(conninfo, folder) as past:
        await past.begin("e-1", "e-2")
        usage = Message("execution/e-1", RecordUsage(api_calls=1), "tester")
        await asyncio.gather(*(past.bus.submit(usage) for _ in range(499)))
        await past.send("execution/e-2", EraseExecution(reason="asked"))
        await past.say("e-1", "long ago")
        await past.archive()
        await past.begin("e-3")
        await past.say("e-3", "now", "and now")
        builder = TreeBuilder(conninfo, SCHEMA, SECRET, lambda: NOON)
        while await builder.grow(past.connection):
            pass
        accesses = AccessLog(conninfo, SCHEMA, lambda: past.now)
        accesses.start()
        for number in range(3):
            await accesses.record(Access("ann", f"key-{number}", "readExecution", ("e-1",)))
        await accesses.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the archive."""
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def written(postgres: Any, admin: psycopg.Connection, folder: Path) -> Iterator[str]:
    with new_database(admin) as name:
        asyncio.run(write(postgres.conninfo(name), folder))
        yield postgres.conninfo(name)


async def find_checks(conninfo: str, folder: Path) -> set[str]:
    """The checks that find something."""
    found: set[str] = set()
    try:
        settle_master_key(conninfo, SCHEMA, lambda: MASTER_KEY, None)
        log_secret(conninfo, SCHEMA, Vault(MASTER_KEY))
    except (WrongKey, RotationUnderWay):
        found.add("start")
    async with opened(conninfo) as store, connect(conninfo, SCHEMA) as connection:
        checks = verify(conninfo, store, Work([], key=MASTER_KEY), LogVerification())
        faults = [fault async for fault in checks]
        faults += [f async for f in key_faults(store, Vault(MASTER_KEY)) if f is not None]
        faults += [f async for f in line_faults(store) if f is not None]
        histories = Histories(conninfo, SCHEMA)
        faults += [f async for f in snapshot_faults(store, histories) if f is not None]
        histories.close()
        async for file in check_archive(store, ArchiveFiles((folder / "archive").as_uri())):
            faults += file.faults
        begun = await start(connection)
        faults += head_faults(begun, Signer(SECRET, origin_of(begun.log_id)).public_key)
        faults += [f async for f in tree_faults(connection, begun, lambda *_: None)]
        end = await end_of(connection)
        faults += [f async for f in access_faults(connection, end, lambda *_: None)]
    return found | {fault.part for fault in faults}


@pytest.fixture(scope="module")
def stored(written: str) -> dict[str, dict[str, str]]:
    """The tables, their columns and types, without partitions."""
    found: dict[str, dict[str, str]] = {}
    with psycopg.connect(written) as connection:
        for table, column, kind in connection.execute(COLUMNS.encode()):
            if not table.startswith(PARTITION):
                found.setdefault(table, {})[column] = kind
    return found


def test_every_table_and_column_has_an_answer(stored: dict[str, dict[str, str]]) -> None:
    assert stored.keys() - OF_VIEWS == CHECKED.keys() | SAID_ELSEWHERE_NEVER.keys()
    for table, answers in CHECKED.items():
        assert stored[table].keys() == answers.keys(), table


def test_unchanged_log_has_no_faults(written: str, folder: Path) -> None:
    assert asyncio.run(find_checks(written, folder)) == set()


@pytest.mark.parametrize(("place", "part"), CASES)
def test_change_is_found(
    written: str,
    folder: Path,
    stored: dict[str, dict[str, str]],
    place: tuple[str, str],
    part: str,
) -> None:
    table, column = place
    other = OTHER.get(column, other_value(stored[table][column]))
    with change_last_row(written, table, column, other):
        assert part in asyncio.run(find_checks(written, folder))


@contextmanager
def change_last_row(conninfo: str, table: str, column: str, other: str) -> Iterator[None]:
    """While the block runs, the last row of a table has another value in a column, past all triggers."""
    names = {"table": Identifier(table), "column": Identifier(column)}
    options = session_options("executions")
    with psycopg.connect(conninfo, options=options, autocommit=True) as connection:
        for statement in (
            "SET session_replication_role = replica",
            "ALTER TABLE events DISABLE TRIGGER append_only",
        ):
            connection.execute(statement.encode())
        connection.execute(SQL("CREATE TEMP TABLE former AS TABLE {table}").format(**names))
        change = SQL(CHANGE).format(value=SQL(other).format(names["column"]), **names)
        assert connection.execute(change).rowcount == 1
        try:
            yield
        finally:
            connection.execute(SQL("DELETE FROM {table}").format(**names))
            connection.execute(SQL("INSERT INTO {table} TABLE former").format(**names))
            connection.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER append_only")
