"""Migrations of the log: what an earlier build made opens, and has one master key for ever."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest

from domain.eventlog.encryption import Vault, WrongKey
from domain.eventlog.migrations import migrate_log, settle_master_key
from domain.eventlog.sessions import session_options

OURS, OTHERS = b"o" * 32, b"x" * 32
KEEP = "INSERT INTO data_keys VALUES (%s, %s)"


def ask(database: str, query: str, *values: object) -> list[tuple[object, ...]]:
    with psycopg.connect(database, options=session_options("executions")) as connection:
        cursor = connection.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []


def settle(
    database: str, key: bytes | None, made: Callable[[], bytes] | None = lambda: OURS
) -> None:
    """With the key of a data directory, or none, and one that would be made."""

    def known() -> bytes:
        if key is None:
            raise FileNotFoundError
        return key

    settle_master_key(database, "executions", known, made)


def test_master_key_of_the_first_start_is_the_only_one_for_ever(database: str) -> None:
    settle(database, None)
    settle(database, OURS)
    with pytest.raises(WrongKey) as refused:
        settle(database, OTHERS)
    assert Vault(OURS).id in str(refused.value)
    assert Vault(OTHERS).id in str(refused.value)


def test_master_key_that_is_lost_is_not_made_again(database: str) -> None:
    settle(database, None)
    with pytest.raises(FileNotFoundError):
        settle(database, None, lambda: OTHERS)


def test_master_key_is_that_of_one_of_two_first_servers(database: str) -> None:
    together = Barrier(2)

    def first(key: bytes) -> bool:
        together.wait()
        try:
            settle(database, None, lambda: key)
        except FileNotFoundError:
            return False
        return True

    with ThreadPoolExecutor(2) as servers:
        begun = list(servers.map(first, (OURS, OTHERS)))
    assert sorted(begun) == [False, True]
    settle(database, OURS if begun[0] else OTHERS)


def test_master_key_of_a_log_without_a_check_is_the_one_that_opens_a_data_key(
    database: str,
) -> None:
    ask(database, KEEP, "execution/damaged", b"12345678" * 5)
    ask(database, KEEP, "execution/whole", Vault(OURS).make("execution/whole")[1])
    with pytest.raises(WrongKey):
        settle(database, OTHERS)
    settle(database, OURS)
    ask(database, "DELETE FROM data_keys")
    with pytest.raises(WrongKey):
        settle(database, OTHERS)


def test_master_key_is_not_settled_by_who_makes_none(database: str) -> None:
    settle(database, None, None)
    assert ask(database, "SELECT * FROM master_key") == []


def test_log_of_an_earlier_build_gets_what_is_new(database: str) -> None:
    ask(database, "INSERT INTO snapshots VALUES ('tally/a', 1, 1, now(), 'x', 'shape')")
    ask(database, "ALTER TABLE snapshots DROP COLUMN digest")
    ask(database, "DROP FUNCTION snapshot_digest")
    ask(database, "DROP TABLE master_key")
    ask(database, "COMMENT ON TABLE head IS 'of an earlier build'")
    for _ in range(2):
        migrate_log(database, "executions")
    assert ask(database, "SELECT digest FROM snapshots") == [(None,)]
    settle(database, OURS)
