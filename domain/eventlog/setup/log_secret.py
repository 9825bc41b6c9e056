"""The secret of a log, from which its signing key and other keys are derived. It stays the same when the master key changes."""

from __future__ import annotations

from typing import Any, NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from psycopg import Connection

from domain.eventlog.encryption import KEY_BYTES, Vault
from domain.eventlog.sessions import session

WRAPPED = "SELECT secret FROM master_key"


class LogKeys(NamedTuple):
    """The keys of a server of a log: the master key and the secret of the log, 32 bytes each."""

    master: bytes
    secret: bytes


def log_secret(database: str | Connection[Any], schema: str, vault: Vault) -> bytes:
    """The secret of a log: 32 bytes, stored wrapped by the master key.

    Raises:
        WrongKey: the secret was wrapped by another master key, or is damaged.
        Overloaded: the database cannot be reached.
    """
    with session(database, schema) as connection:
        wrapped = (connection.execute(WRAPPED).fetchone() or (None,))[0]
    return vault.secret_of_earlier_logs if wrapped is None else vault.unwrap_secret(wrapped)


def derive(secret: bytes, purpose: str) -> bytes:
    """Derive a key of 32 bytes for one purpose (HKDF-Expand, RFC 5869). The secret cannot be found from it."""
    return HKDFExpand(SHA256(), KEY_BYTES, info=purpose.encode()).derive(secret)
