"""Measures how much the log grows by an event of average size, including all indexes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

import psycopg
from ulid import ULID

from bench.events import BY, CORRELATION, CUSTOMER, PAYLOAD, PROVIDER
from domain import registry
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.migrations import migrate_log
from domain.eventlog.store import Store
from domain.execution.events.lifecycle import ExecutionStarting
from domain.model import Recorded

SCHEMA = "executions"
LIFE = 20
AT_ONCE = 256
A_BATCH = 256
SIZE = f"SELECT pg_total_relation_size('{SCHEMA}.events')::float8 / count(*) FROM {SCHEMA}.events"  # noqa: S608  (a constant)


async def bytes_per_event(conninfo: str, events: int) -> float:
    """Append events of executions with 20 events each, of which 256 are active at a time; return the bytes per event."""
    migrate_log(conninfo, SCHEMA)
    store = Store(conninfo, SCHEMA, registry.codec(), Keyring(Vault(os.urandom(32))))
    await store.open()
    rows = islice(_rows(store), events)
    while batch := list(islice(rows, A_BATCH)):
        async with store.transaction() as transaction:
            await transaction.append(batch, [], batch[-1].at)
    await store.close()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("VACUUM executions.events")
        row = connection.execute(SIZE).fetchone()
    assert row is not None
    return float(row[0])


def _rows(store: Store) -> Iterator[EventRow]:
    """Yield the next event of each execution in turn; an execution that has ended is replaced by a new one."""
    living = [_start(nth) for nth in range(AT_ONCE)]
    position = 0
    while True:
        for nth, (stream, version) in enumerate(living):
            position += 1
            yield _row(store, stream, version, position)
            living[nth] = (stream, version + 1) if version < LIFE else (_stream(), 1)


def _start(nth: int) -> tuple[str, int]:
    return _stream(), 1 + nth % LIFE  # so that they do not all end at the same time


def _stream() -> str:
    return f"execution/exec_{ULID()}"


def _row(store: Store, stream: str, version: int, position: int) -> EventRow:
    now = datetime.now(UTC)
    envelope = Recorded(
        stream,
        version,
        position,
        now,
        ExecutionStarting(),
        BY,
        CORRELATION,
        None,
        CUSTOMER,
        PROVIDER,
    )
    return store.codec.encode(envelope, None)._replace(data=PAYLOAD.encode())
