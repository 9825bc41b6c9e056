"""Measures the bus alone, in a process of its own: callers send commands and await the answers.

    python -m bench.callers CALLERS SECONDS POSTGRES_PID <<< CONNINFO

Each caller updates the progress of an execution of its own, again and again. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count

import uvloop

from bench.client import percentile
from bench.events import BY, CORRELATION, CUSTOMER, PROVIDER
from bench.machine import Meter
from domain import registry
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.migrations import migrate_log
from domain.eventlog.store import Store
from domain.execution.commands import UpdateProgress
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.lifecycle import ExecutionStarted, ExecutionStarting
from domain.model import Recorded
from domain.writer.command_bus import Bus
from domain.writer.message import Message

SCHEMA = "executions"
WARM_UP = 1.0
BEGINNING = (
    ExecutionCreated(order="order-1", service="service-1", customer=CUSTOMER, provider=PROVIDER),
    ExecutionStarting(),
    ExecutionStarted(),
)


@dataclass(frozen=True, slots=True)
class Called:
    """The result: commands per second, latencies in seconds, and the CPU time of a command as text."""

    rate: float
    p50: float
    p99: float
    cpu: str


async def measure(conninfo: str, callers: int, seconds: float, postgres: int) -> Called:
    """Let so many callers send commands for `seconds`."""
    store = Store(conninfo, SCHEMA, registry.codec(), Keyring(Vault(os.urandom(32))))
    bus = Bus(store, lambda: datetime.now(UTC), str, random.random)
    streams = [f"execution/exec_{os.getpid()}_{number}" for number in range(callers)]
    await store.open()
    await begin(store, streams)
    bus.start()
    try:
        return await _time(bus, streams, seconds, postgres)
    finally:
        await bus.stop()
        await store.close()


async def begin(store: Store, streams: list[str]) -> None:
    """Append the first three events of running executions."""
    async with store.transaction() as transaction:
        positions = count(transaction.position + 1)
        now = datetime.now(UTC)
        rows = [
            store.codec.encode(
                Recorded(
                    stream, version, next(positions), now, event, BY, None, None, CUSTOMER, PROVIDER
                ),
                None,
            )
            for stream in streams
            for version, event in enumerate(BEGINNING, 1)
        ]
        await transaction.append(rows, [], now)


async def _time(bus: Bus, streams: list[str], seconds: float, postgres: int) -> Called:
    start = time.perf_counter() + WARM_UP
    latencies: list[float] = []

    async def caller(stream: str) -> None:
        messages = [
            Message(stream, UpdateProgress(progress=progress), BY, CORRELATION)
            for progress in (40, 60)
        ]
        for nth in count():
            sent = time.perf_counter()
            await bus.send(messages[nth % 2])
            answered = time.perf_counter()
            if answered >= start + seconds:
                return
            if answered >= start:
                latencies.append(answered - sent)

    tasks = [asyncio.create_task(caller(stream)) for stream in streams]
    await asyncio.sleep(WARM_UP)
    meter = Meter(PostgreSQL=postgres)
    await asyncio.gather(*tasks)
    costs = meter.costs()
    latencies.sort()
    return Called(
        len(latencies) / seconds,
        percentile(latencies, 0.5),
        percentile(latencies, 0.99),
        costs.per(len(latencies)),
    )


def main() -> None:
    callers, seconds, postgres = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    conninfo = sys.stdin.read()
    migrate_log(conninfo, SCHEMA)
    print(json.dumps(asdict(uvloop.run(measure(conninfo, callers, seconds, postgres)))))  # noqa: T201


if __name__ == "__main__":
    main()
