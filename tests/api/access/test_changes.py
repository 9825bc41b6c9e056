"""The last use of keys is recorded, and connections end when their credential ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from api.access import changes as access_changes
from api.access.changes import AccessChanges
from api.access.identity import Caller
from api.access.scope import WHOLE
from domain.errors import Overloaded
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.store import Store

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Connection:
    """Records the parameters of the statements that it executes."""

    def __init__(self) -> None:
        self.kept: dict[str, datetime] = {}

    async def execute(self, _: str, values: Any) -> None:
        self.kept |= dict(zip(*values, strict=True))


class BusyStore:
    """A store whose database is unavailable at first."""

    def __init__(self) -> None:
        self.away, self.connection = True, Connection()

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Connection]:
        if self.away:
            raise Overloaded
        yield self.connection


class SilentStore:
    """A store whose database does not answer."""

    async def head(self) -> None:
        await asyncio.Event().wait()

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield


@pytest.mark.anyio
async def test_use_of_a_key_is_recorded_once_the_database_is_available_again() -> None:
    store, listener = BusyStore(), Listener("", "executions")
    changes = AccessChanges(cast(Store, store), listener, "executions")
    changes.note_use("key/k-1", AT.timestamp())
    changes.note_use("session/s-1", AT.timestamp())
    with pytest.raises(Overloaded):
        await changes._store_uses()
    changes.note_use("key/k-2", AT.timestamp())
    store.away = False
    await changes._store_uses()
    assert store.connection.kept == {"k-1": AT, "k-2": AT}


@pytest.mark.anyio
async def test_credential_expires_while_the_database_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_changes, "STORE_USES_EVERY", 1)
    listener = Listener("", "executions")
    changes = AccessChanges(cast(Store, SilentStore()), listener, "executions")
    changes.note_use("key/k-1", AT.timestamp())
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    ended = asyncio.Event()
    changes.start()
    with changes.open.of(Caller("worker", WHOLE, "key/k-1", soon), lambda _: ended.set()):
        await asyncio.wait_for(ended.wait(), 10)
    await changes.stop()
