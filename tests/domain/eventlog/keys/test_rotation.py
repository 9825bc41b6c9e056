"""A rotation wraps every data key again; it can be killed at any point and continued, and no data key is lost."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
import pytest

from domain.eventlog.encryption import Vault, WrongKey
from domain.eventlog.keys import rotation
from domain.eventlog.keys.rotation import RotationUnderWay, begin, finish, rewrap
from domain.eventlog.migrations import settle_master_key
from domain.eventlog.sessions import session_options
from domain.eventlog.setup.log_secret import log_secret

SCHEMA = "executions"
OLD, NEW, OTHER = Vault(b"o" * 32), Vault(b"n" * 32), Vault(b"x" * 32)
STREAMS = [f"execution/e-{number}" for number in range(10)]


class Killed(Exception):
    """Stands for the death of the process."""


@pytest.fixture
def log(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ten data keys, one destroyed and one damaged; a commit wraps three again."""
    monkeypatch.setattr(rotation, "AT_ONCE", 3)
    settle_master_key(database, SCHEMA, lambda: b"o" * 32, lambda: b"o" * 32)
    keys = [(stream, OLD.make(stream)[1]) for stream in STREAMS]
    more = [("execution/erased", b""), ("execution/damaged", b"12345678" * 5)]
    with psycopg.connect(database, options=session_options(SCHEMA)) as connection:
        connection.cursor().executemany("INSERT INTO data_keys VALUES (%s, %s)", [*keys, *more])
    return database


def unwrap_all(log: str, *vaults: Vault) -> dict[str, bytes]:
    """The data keys that one of the vaults unwraps."""
    with psycopg.connect(log, options=session_options(SCHEMA)) as connection:
        rows = connection.execute("SELECT originator_id, wrapped FROM data_keys").fetchall()
    return {
        stream: vault.unwrap(bytes(wrapped), stream).material
        for stream, wrapped in rows
        for vault in vaults
        if vault.unwraps(bytes(wrapped), stream)
    }


def settle(log: str, key: bytes) -> None:
    settle_master_key(log, SCHEMA, lambda: key, None)


def test_rotation_wraps_every_data_key_again_and_changes_none(log: str) -> None:
    before, secret = unwrap_all(log, OLD), log_secret(log, SCHEMA, OLD)
    assert begin(log, SCHEMA, OLD, NEW)
    done = rewrap(log, SCHEMA, OLD, NEW)
    finish(log, SCHEMA, NEW)
    assert (done.keys, done.damaged) == (10, 1)
    assert unwrap_all(log, NEW) == before
    assert unwrap_all(log, OLD) == {}
    assert log_secret(log, SCHEMA, NEW) == secret
    settle(log, b"n" * 32)
    with pytest.raises(WrongKey):
        settle(log, b"o" * 32)


@pytest.mark.parametrize("commits", range(5))
def test_killed_rotation_is_continued_and_meanwhile_no_server_opens_the_log(
    log: str, commits: int
) -> None:
    before = unwrap_all(log, OLD)

    def interrupt(_: int, left: Iterable[int] = iter(range(commits))) -> None:
        if next(iter(left), None) is None:
            raise Killed

    assert begin(log, SCHEMA, OLD, NEW)
    if commits < 4:
        with pytest.raises(Killed):
            rewrap(log, SCHEMA, OLD, NEW, interrupt)
    else:
        rewrap(log, SCHEMA, OLD, NEW)
    assert unwrap_all(log, OLD, NEW) == before
    for key in (b"o" * 32, b"n" * 32):
        with pytest.raises(RotationUnderWay):
            settle(log, key)
    assert begin(log, SCHEMA, OLD, NEW)
    rewrap(log, SCHEMA, OLD, NEW)
    finish(log, SCHEMA, NEW)
    assert unwrap_all(log, NEW) == before
    assert not begin(log, SCHEMA, OLD, NEW)


def test_rotation_from_or_to_a_wrong_key_is_refused_and_changes_nothing(log: str) -> None:
    with pytest.raises(WrongKey):
        begin(log, SCHEMA, OTHER, NEW)
    begin(log, SCHEMA, OLD, NEW)
    for before, after in ((OLD, OTHER), (OTHER, NEW)):
        with pytest.raises(RotationUnderWay):
            begin(log, SCHEMA, before, after)
    assert len(unwrap_all(log, OLD)) == 10


def test_rotation_of_an_earlier_log_keeps_the_secret_derived_from_its_master_key(
    log: str,
) -> None:
    with psycopg.connect(log, options=session_options(SCHEMA)) as connection:
        connection.execute("UPDATE master_key SET secret = NULL")
    begin(log, SCHEMA, OLD, NEW)
    finish(log, SCHEMA, NEW)
    assert log_secret(log, SCHEMA, NEW) == OLD.secret_of_earlier_logs
