"""A process starts only with the current master key of the log."""

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


async def starts_with(database: str, master: bytes) -> None:
    async with open_with_current_key(store_with(database, master)):
        pass


@pytest.mark.anyio
async def test_process_with_the_key_from_before_a_rotation_does_not_start(database: str) -> None:
    await starts_with(database, BEFORE)
    settle_master_key(database, "executions", lambda: BEFORE, lambda: BEFORE)
    await starts_with(database, BEFORE)
    begin(database, "executions", Vault(BEFORE), Vault(AFTER))
    for master in (BEFORE, AFTER):
        with pytest.raises(RotationUnderWay):
            await starts_with(database, master)
    finish(database, "executions", Vault(AFTER))
    await starts_with(database, AFTER)
    before = asyncio.all_tasks()
    with pytest.raises(WrongKey, match="changed"):
        await starts_with(database, BEFORE)
    assert asyncio.all_tasks() == before, "what was opened is closed"


@pytest.mark.anyio
async def test_log_without_a_master_key_needs_none(database: str) -> None:
    with psycopg.connect(database, options=session_options("executions")) as connection:
        connection.execute("DELETE FROM master_key")
    await starts_with(database, BEFORE)
