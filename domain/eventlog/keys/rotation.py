"""Changes the master key of a log: the data keys are wrapped again, and no event changes.

From `begin` to `finish` the log stores the id of the former master key, and no server opens the log. A change that was
interrupted is run again with the same two keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from psycopg import Connection

from domain.errors import Damaged
from domain.eventlog.encryption import KeyCheck, Vault
from domain.eventlog.sessions import connect

AT_ONCE = 1_000
"""Data keys in one commit."""

CHECK = "SELECT id, wrapped, secret, former FROM master_key FOR UPDATE"
BEGIN = "UPDATE master_key SET id = %s, wrapped = %s, secret = %s, former = %s"
FINISH = "UPDATE master_key SET former = NULL WHERE id = %s"
KEYS_WRITTEN = "SELECT pg_advisory_xact_lock(hashtext(%s))"
"""Waits for transactions that store data keys wrapped by the former master key; later ones are refused
(`require_master_key` in schema.sql).
"""
NEXT = """SELECT originator_id, wrapped FROM data_keys
    WHERE originator_id > %s AND wrapped <> ''::bytea ORDER BY originator_id LIMIT %s"""
REWRAP = """UPDATE data_keys AS k SET wrapped = n.after
    FROM unnest(%s::text[], %s::bytea[], %s::bytea[]) AS n (stream, before, after)
    WHERE k.originator_id = n.stream AND k.wrapped = n.before"""

OnProgress = Callable[[int], object]
"""A callback with the number of data keys that are done."""


class NoMasterKey(Damaged):
    """No server has ever sealed anything in this log, so it has no master key yet."""


class RotationUnderWay(Damaged):
    """The master key of this log is being changed."""


class Rewrapped(NamedTuple):
    """The number of data keys that are wrapped by the new master key now, and of those that neither master key opens."""

    keys: int
    damaged: int


def begin(conninfo: str, schema: str, before: Vault, after: Vault) -> bool:
    """Store the new master key's check value in the log; return False where the change is finished already.

    Raises:
        NoMasterKey: the log has no master key.
        WrongKey: the log has another master key than `before`.
        RotationUnderWay: a change between other master keys is under way.
    """
    with _connect_and_lock(conninfo, schema) as connection:
        connection.execute(KEYS_WRITTEN, (f"master key {schema}",))
        row = connection.execute(CHECK).fetchone()
        if row is None:
            raise NoMasterKey
        id_, wrapped, secret, former = row
        if former is not None:
            if (id_, former) != (after.id, before.id):
                raise RotationUnderWay(f"It is on its way from the master key {former} to {id_}.")
            return True
        if id_ == after.id:
            return False
        before.require(KeyCheck(id_, wrapped))
        opened = before.secret_of_earlier_logs if secret is None else before.unwrap_secret(secret)
        connection.execute(BEGIN, (*after.check, after.wrap_secret(opened), before.id))
    return True


def rewrap(
    conninfo: str,
    schema: str,
    before: Vault,
    after: Vault,
    on_progress: OnProgress = lambda _: None,
) -> Rewrapped:
    """Wrap every data key by the new master key, except those that it wraps already."""
    last, keys, damaged = "", 0, 0
    with connect(conninfo, schema) as connection:
        while rows := connection.execute(NEXT, (last, AT_ONCE)).fetchall():
            changed = [_rewrap(row[0], row[1], before, after) for row in rows]
            new = [each for each in changed if each is not None and each[1] != each[2]]
            connection.execute(
                REWRAP, [list(column) for column in zip(*new, strict=True)] or [[], [], []]
            )
            connection.commit()
            damaged += changed.count(None)
            keys += len(rows) - changed.count(None)
            last = rows[-1][0]
            on_progress(keys)
    return Rewrapped(keys, damaged)


def finish(conninfo: str, schema: str, after: Vault) -> None:
    """Let servers open the log again, with the new master key."""
    with _connect_and_lock(conninfo, schema) as connection:
        connection.execute(FINISH, (after.id,))


def _connect_and_lock(conninfo: str, schema: str) -> Connection[Any]:
    connection = connect(conninfo, schema)
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
    return connection


def _rewrap(
    stream: str, wrapped: bytes, before: Vault, after: Vault
) -> tuple[str, bytes, bytes] | None:
    """A stream, its wrapped key, and the key wrapped by `after`; None where neither master key unwraps it."""
    if after.unwraps(wrapped, stream):
        return stream, wrapped, wrapped
    if before.unwraps(wrapped, stream):
        return stream, wrapped, after.wrap(before.unwrap(wrapped, stream))
    return None
