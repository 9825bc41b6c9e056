"""The secret of a log is random and stored wrapped; that of an earlier log is derived from its master key."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domain.eventlog.encryption import Vault, WrongKey
from domain.eventlog.migrations import settle_master_key
from domain.eventlog.sessions import session_options
from domain.eventlog.setup.log_secret import derive, log_secret

KEY, SCHEMA = b"o" * 32, "executions"


def key() -> bytes:
    return KEY


def settle(database: str, made: Callable[[], bytes] | None = key) -> bytes:
    settle_master_key(database, SCHEMA, key, made)
    return log_secret(database, SCHEMA, Vault(KEY))


def ask(database: str, query: str, *values: object) -> None:
    with psycopg.connect(database, options=session_options(SCHEMA)) as connection:
        connection.execute(query.encode(), values)


def test_secret_of_a_new_log_is_random_and_stays(database: str) -> None:
    made = settle(database)
    assert len(made) == 32
    assert made not in (KEY, Vault(KEY).secret_of_earlier_logs)
    assert settle(database) == made


def test_secret_of_an_earlier_log_derives_the_same_keys_as_its_master_key(
    database: str,
) -> None:
    settle_master_key(database, SCHEMA, key, key)
    ask(database, "UPDATE master_key SET secret = NULL")
    before = HKDF(SHA256(), 32, salt=None, info=b"tree heads of executions/a").derive(KEY)
    unsettled = log_secret(database, SCHEMA, Vault(KEY))
    assert derive(unsettled, "tree heads of executions/a") == before
    assert settle(database) == unsettled
    assert log_secret(database, SCHEMA, Vault(KEY)) == unsettled


def test_log_with_data_keys_but_no_key_check_has_the_derived_secret(database: str) -> None:
    ask(database, "INSERT INTO data_keys VALUES (%s, %s)", "user/u", Vault(KEY).make("user/u")[1])
    assert settle(database) == Vault(KEY).secret_of_earlier_logs


def test_secret_is_stored_wrapped_and_not_opened_by_another_master_key(database: str) -> None:
    made = settle(database)
    with psycopg.connect(database, options=session_options(SCHEMA)) as connection:
        [stored] = connection.execute("SELECT secret FROM master_key").fetchone() or [b""]
    assert made not in bytes(stored)
    with pytest.raises(WrongKey, match="the secret of the log"):
        log_secret(database, SCHEMA, Vault(b"x" * 32))


def test_purposes_have_different_keys() -> None:
    assert len({KEY, derive(KEY, "a"), derive(KEY, "b"), derive(b"x" * 32, "a")}) == 4
