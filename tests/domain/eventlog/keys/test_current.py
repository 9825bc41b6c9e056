"""A process begins only with the master key that the log has."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from domain.eventlog.encryption import Vault, WrongKey
from domain.eventlog.keyring import Keyring
from domain.eventlog.keys.current import open_with_current_key
from domain.eventlog.keys.rotation import RotationUnderWay, begin, finish
from domain.eventlog.migrations import settle_master_key
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from tests.support import sample_aggregate

BEFORE, AFTER = b"b" * 32, b"a" * 32


def store_with(database: str, master: bytes) -> Store:
    return Store(database, "executions", sample_aggregate.codec(), Keyring(Vault(master)))


async def begins_with(database: str, master: bytes) -> None:
    async with open_with_current_key(store_with(database, master)):
        pass


@pytest.mark.anyio
async def test_process_that_started_before_a_rotation_does_not_begin(database: str) -> None:
    await begins_with(database, BEFORE)
    settle_master_key(database, "executions", lambda: BEFORE, lambda: BEFORE)
    await begins_with(database, BEFORE)
    begin(database, "executions", Vault(BEFORE), Vault(AFTER))
    for master in (BEFORE, AFTER):
        with pytest.raises(RotationUnderWay):
            await begins_with(database, master)
    finish(database, "executions", Vault(AFTER))
    await begins_with(database, AFTER)
    before = asyncio.all_tasks()
    with pytest.raises(WrongKey, match="changed"):
        await begins_with(database, BEFORE)
    assert asyncio.all_tasks() == before, "what was opened is closed"


@pytest.mark.anyio
async def test_log_without_a_master_key_asks_for_none(database: str) -> None:
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute("DELETE FROM master_key")
    await begins_with(database, BEFORE)
