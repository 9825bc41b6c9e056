"""Writes events directly into the log, without commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from domain import registry
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.store import Store
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.lifecycle import (
    ExecutionCompleted,
    ExecutionStarted,
    ExecutionStarting,
)
from domain.execution.types import ExecutionResult
from domain.model import Event, Recorded

MASTER_KEY = b"k" * 32
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Happening(NamedTuple):
    """An event, and the execution that it happens to."""

    execution: str
    event: Event


def created(execution: str, **more: object) -> Happening:
    fields = {"order": "order-1", "service": "s-1", "customer": "c-1", "provider": "p-1"} | more
    return Happening(execution, ExecutionCreated.model_validate(fields, strict=False))


def started(execution: str) -> list[Happening]:
    return [
        Happening(execution, ExecutionStarting()),
        Happening(execution, ExecutionStarted()),
    ]


def completed(execution: str, summary: str = "done") -> Happening:
    result = ExecutionResult(success=True, output=None, summary=summary)
    return Happening(execution, ExecutionCompleted(success=True, result=result))


def new_store(conninfo: str) -> Store:
    return Store(conninfo, "executions", registry.codec(), Keyring(Vault(MASTER_KEY)))


@asynccontextmanager
async def opened(conninfo: str) -> AsyncIterator[Store]:
    store = new_store(conninfo)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


class Log:
    """Writes to a log of which it is the only writer.

    `with_occurred_at` gives every event its own `occurred_at`, a second after that of the event
    before; otherwise all events of a commit have the same time.
    """

    def __init__(self, store: Store, *, with_occurred_at: bool = False) -> None:
        self.store = store
        self.with_occurred_at = with_occurred_at
        self.position = 0
        self._versions: Counter[str] = Counter()

    async def write(self, happenings: Iterable[Happening]) -> int:
        """Append in one commit; the position of the last event."""
        recorded = [self._recorded(happening) for happening in happenings]
        async with self.store.transaction() as transaction:
            keyring, codec = self.store.keyring, self.store.codec
            rows = [codec.encode(event, keyring.get_or_create(event.stream)) for event in recorded]
            await transaction.append(rows, [], recorded[-1].at)
        return self.position

    def _recorded(self, happening: Happening) -> Recorded:
        stream = f"execution/{happening.execution}"
        self.position += 1
        self._versions[stream] += 1
        at = NOON + self.position * SECOND
        version, occurred_at = self._versions[stream], at if self.with_occurred_at else None
        return Recorded(
            stream, version, self.position, at, happening.event, "tester", occurred_at=occurred_at
        )


def some(count: int, **more: object) -> list[Happening]:
    """The creations of `e-0`, `e-1` and so on."""
    return [created(f"e-{number}", **more) for number in range(count)]
