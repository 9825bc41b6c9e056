"""Measures the loading of a long stream that is not cached: its nearest snapshot and up to 499 events after it."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import uvloop

from bench.callers import begin
from bench.client import percentile
from bench.events import BY, CORRELATION
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.stand import Stand
from domain import registry
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.migrations import migrate_log
from domain.eventlog.store import Store
from domain.execution.commands import CompleteStep, StartStep, UpdateProgress
from domain.model import Command
from domain.writer.command_bus import Bus
from domain.writer.message import Message

SCHEMA = "executions"
EVENTS = 10_496  # so that the last event is as far from a snapshot as possible
LOADS = 200


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure two streams of as many events: one with updates of the progress only, one with very many steps."""
    events = plan.count(EVENTS)
    progress = [UpdateProgress(progress=number % 100) for number in range(events)]
    steps = [
        command(step=f"step-{number}")
        for number in range(events // 2)
        for command in (StartStep, CompleteStep)
    ]
    report.add(
        "Loading a stream from cold",
        [
            *_measurements(stand, "progress", f"{events + 3} events", progress),
            *_measurements(stand, "steps", f"{events + 3} events, {events // 2} steps", steps),
        ],
    )


def _measurements(
    stand: Stand, name: str, what: str, commands: Iterable[Command[Any]]
) -> list[Measurement]:
    seconds = uvloop.run(_loads(stand.database(f"cold_{name}"), commands))
    p50, p99 = (1e3 * percentile(seconds, share) for share in (0.5, 0.99))
    return [
        Measurement(f"{what}, p50", "ms", [p50], Target("≤", 10)),
        Measurement(f"{what}, p99", "ms", [p99]),
    ]


async def _loads(conninfo: str, commands: Iterable[Command[Any]]) -> list[float]:
    migrate_log(conninfo, SCHEMA)
    store = Store(conninfo, SCHEMA, registry.codec(), Keyring(Vault(os.urandom(32))))
    bus = Bus(store, lambda: datetime.now(UTC), str, random.random, limit=100_000)
    await store.open()
    stream = "execution/long"
    await begin(store, [stream])
    bus.start()
    await asyncio.gather(*(bus.submit(Message(stream, c, BY, CORRELATION)) for c in commands))
    await bus.stop()
    seconds = []
    for _ in range(LOADS):
        started = time.perf_counter()
        await store.load(stream)
        seconds.append(time.perf_counter() - started)
    await store.close()
    return sorted(seconds)
