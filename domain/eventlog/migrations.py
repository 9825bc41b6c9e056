"""Makes the tables of a log, and settles its master key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from os import urandom
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier, Literal

from domain.errors import Overloaded
from domain.eventlog.access.days import MAKE_DAYS
from domain.eventlog.encryption import KEY_BYTES, KeyCheck, Vault, WrongKey
from domain.eventlog.keys.rotation import RotationUnderWay
from domain.eventlog.moving.fence import require_open
from domain.eventlog.sessions import session
from domain.eventlog.setup.log_lines import migrate_log_lines

ROOMS = ("moving", ".", "archive", "access")
SCHEMAS = (*(f"{room}/schema.sql" for room in ROOMS), "setup/log_lines.sql")

# The form of the last migration. No row where the trigger that forbids changes of events is off: a migration turns it on.
FORM = """SELECT obj_description(to_regclass('head'), 'pg_class') FROM pg_trigger
    WHERE tgrelid = to_regclass('events') AND tgname = 'append_only' AND tgenabled = 'A'"""

KEY_CHECK = "SELECT id, wrapped, former FROM master_key"
STORE_KEY_CHECK = "INSERT INTO master_key (id, wrapped, secret) VALUES (%s, %s, %s)"
FILL_IN = "UPDATE master_key SET secret = %s WHERE secret IS NULL"
READ_ONLY = "The database takes no writes: it is a standby, or read-only. Name the primary."
SOME_KEYS = "SELECT originator_id, wrapped FROM data_keys WHERE wrapped <> '' LIMIT 100"
"""A sample of many, as some data keys may be damaged."""


def migrate_log(database: str | Connection[Any], schema: str) -> None:
    """Create the tables of the log that are missing. Every start calls this; several processes may call it at once.

    Raises:
        Overloaded: the database cannot be reached, takes no writes, or the log is being moved.
    """
    room = files("domain.eventlog")
    *log, lines = (room.joinpath(name).read_bytes() for name in SCHEMAS)
    form = sha256(b"".join(log) + lines).hexdigest()[:16]
    with session(database, schema) as connection:
        if connection.execute("SHOW transaction_read_only").fetchone() == ("on",):
            raise Overloaded(READ_ONLY)
        require_open(connection)
        # A lock of the session, as log lines are migrated in several transactions.
        connection.execute("SELECT pg_advisory_lock(hashtext(%s))", (f"migrate {schema}",))
        connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
        # DDL that changes nothing would still wait for a backup or a VACUUM, and all writers would wait behind it.
        if connection.execute(FORM).fetchone() != (form,):
            for part in log:
                connection.execute(part)
            connection.execute(MAKE_DAYS, (datetime.now(UTC).date(),))
            migrate_log_lines(connection, lines)
            connection.execute(SQL("COMMENT ON TABLE head IS {}").format(Literal(form)))
        connection.commit()
        connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", (f"migrate {schema}",))


def settle_master_key(
    database: str | Connection[Any],
    schema: str,
    known: Callable[[], bytes],
    made: Callable[[], bytes] | None = None,
) -> None:
    """Check that a master key is the one of the log. A log that has none yet gets the key, and its secret.

    `known` returns the configured key; `made` does, too, or makes a new one. `made` is called only where nothing was sealed
    and no server has ever started; without `made` such a log is left unchanged. This runs under the lock of the migration,
    so if two first servers have different keys, one of them is refused.

    Raises:
        WrongKey: the log was sealed with another master key.
        RotationUnderWay: the master key is being changed.
    """
    with session(database, schema) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"migrate {schema}",))
        check = connection.execute(KEY_CHECK).fetchone()
        samples = connection.execute(SOME_KEYS).fetchall() if check is None else []
        source = known if check or samples else made
        if source is None:
            return
        vault = Vault(source())
        if check is not None:
            id_, wrapped, former = check
            if former is not None:
                raise RotationUnderWay
            vault.require(KeyCheck(id_, wrapped))
            secret = vault.secret_of_earlier_logs
            connection.execute(FILL_IN, (vault.wrap_secret(secret),))
            return
        if samples and not any(vault.unwraps(wrapped, stream) for stream, wrapped in samples):
            raise WrongKey(f"no data key of this log was wrapped by the master key {vault.id}")
        secret = vault.secret_of_earlier_logs if samples else urandom(KEY_BYTES)
        connection.execute(STORE_KEY_CHECK, (*vault.check, vault.wrap_secret(secret)))
