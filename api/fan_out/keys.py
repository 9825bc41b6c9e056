"""Data keys for edges, wrapped by the edge key, which is derived from the secret of the log. The edge key decrypts the
events in NATS, and nothing else: neither a backup of the database nor tokens of callers.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable

import orjson

from api.settings import SetupError
from domain.eventlog.encryption import DamagedKey, DataKey, Vault, WrongKey
from domain.eventlog.setup.log_secret import derive
from domain.eventlog.states import StateLoader
from domain.eventlog.store import Store

PURPOSE = "data keys for edges"
DAMAGED = b"damaged"
"""In the place of a key that cannot be unwrapped here, so that it is damaged at an edge, too."""
WITH_CONTENT = ("execution/", "order/")
"""Prefixes of streams with content. Edges do not get the keys of other streams, from which secrets of webhooks are
derived.
"""
Wrapped = list[tuple[str, bytes]]
"""Streams with their wrapped keys."""


def edge_key(secret: bytes) -> bytes:
    """The edge key: 32 bytes, from which the secret of the log cannot be derived."""
    return derive(secret, PURPOSE)


def read_key(text: str) -> Vault:
    """Parse an edge key, and return the vault that unwraps data keys by it.

    Raises:
        SetupError: the text is no edge key.
    """
    try:
        return Vault(b64decode(text, validate=True))
    except (ValueError, WrongKey):
        raise SetupError(
            "edge_key (EXECUTIONS_EDGE_KEY): must be what `executions relay key` prints"
        ) from None


async def wrap_for_edges(store: Store, vault: Vault, streams: Iterable[str]) -> Wrapped:
    """The data keys of streams as the database has them now, wrapped for edges. Streams without a key or without content
    are left out.

    Raises:
        Overloaded: the database is unavailable.
    """
    own = StateLoader(store.codec, store.keyring.ephemeral())
    async with store.reader() as connection:
        wanted = [stream for stream in streams if stream.startswith(WITH_CONTENT)]
        found = await own.learn(connection, wanted)
    return [(stream, _wrap(vault, key)) for stream, key in found.items()]


def as_json(keys: Wrapped) -> bytes:
    """Serialize wrapped keys for `from_json`."""
    return orjson.dumps([(stream, b64encode(key).decode()) for stream, key in keys])


def from_json(data: bytes) -> Wrapped:
    """Parse wrapped keys. Raises ValueError where the text has none."""
    return [(stream, b64decode(key)) for stream, key in orjson.loads(data)]


def _wrap(vault: Vault, key: DataKey) -> bytes:
    return DAMAGED if isinstance(key, DamagedKey) else vault.wrap(key)
