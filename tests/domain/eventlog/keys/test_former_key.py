"""A process with the former master key, as it was disconnected during the rotation, stores no data key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from anyio import to_thread

from domain.eventlog.connection.commit import FormerKey
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.keys.rotation import begin, finish, rewrap
from domain.eventlog.migrations import settle_master_key
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.writer.command_bus import Bus
from domain.writer.guarded_writer import GuardedWriter
from tests.support import sample_aggregate
from tests.support.sample_aggregate import Begin, Note, clock, message, running_bus

pytestmark = pytest.mark.anyio
SCHEMA = "executions"
OLD, NEW = Vault(b"o" * 32), Vault(b"n" * 32)
SEALED = [message("a", Begin()), message("a", Note(note="Sesame"))]


@asynccontextmanager
async def served(database: str) -> AsyncIterator[tuple[Store, Bus]]:
    """A server that started with the current key, and has sealed something with it."""
    settle_master_key(database, SCHEMA, lambda: b"o" * 32, lambda: b"o" * 32)
    store = Store(database, SCHEMA, sample_aggregate.codec(), Keyring(OLD))
    async with running_bus(store) as bus:
        for each in SEALED:
            await bus.send(each)
        yield store, bus


def rotate(database: str) -> None:
    begin(database, SCHEMA, OLD, NEW)
    rewrap(database, SCHEMA, OLD, NEW)
    finish(database, SCHEMA, NEW)


def read_keys(database: str) -> dict[str, bool]:
    """The streams that have a data key, and whether the new master key unwraps it."""
    with psycopg.connect(database, options=session_options(SCHEMA)) as connection:
        rows = connection.execute("SELECT originator_id, wrapped FROM data_keys").fetchall()
    return {stream: NEW.unwraps(bytes(wrapped), stream) for stream, wrapped in rows}


@pytest.mark.parametrize("done", [True, False])
async def test_server_with_the_former_key_stores_no_data_key(database: str, *, done: bool) -> None:
    async with served(database) as (_, bus):
        await bus.send(message("b", Begin()))
        if done:
            rotate(database)
        else:
            begin(database, SCHEMA, OLD, NEW)
        for note in ("alone", "again"):
            with pytest.raises(FormerKey, match="master key of this log was changed"):
                await bus.send(message("b", Note(note=note)))
    assert read_keys(database) == {"tally/a": done}


async def test_work_process_with_the_former_key_stores_no_data_key(database: str) -> None:
    async with served(database) as (store, bus):
        await bus.send(message("b", Begin()))
        rotate(database)
        writer = GuardedWriter(store, clock, str, lambda: 0.5)
        with pytest.raises(FormerKey):
            await writer.send(message("b", Note(note="Sesame")))
    assert read_keys(database) == {"tally/a": True}


async def test_rotation_waits_for_a_data_key_that_is_being_stored(database: str) -> None:
    async with served(database):
        pass
    options = session_options(SCHEMA)
    async with await psycopg.AsyncConnection.connect(database, options=options) as keeping:
        await keeping.execute("SELECT require_master_key(%s)", (OLD.id,))
        wrapped = OLD.make("tally/late")[1]
        await keeping.execute("INSERT INTO data_keys VALUES ('tally/late', %s)", (wrapped,))
        changing = asyncio.create_task(to_thread.run_sync(rotate, database))
        await asyncio.sleep(0.3)
        assert not changing.done()
        await keeping.commit()
    await changing
    assert read_keys(database) == {"tally/a": True, "tally/late": True}
