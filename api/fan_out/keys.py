"""Data keys for edges: wrapped by a key of their own, which follows from the secret of the log. Who has it opens what
goes over NATS, and nothing else: neither a backup of the database, nor tokens of callers.
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
"""Stands for a key that cannot be unwrapped here, and is to look damaged at an edge, too."""
WITH_CONTENT = ("execution/", "order/")
"""Streams that hold content. No edge needs the keys of others, from which secrets of webhooks follow."""
Wrapped = list[tuple[str, bytes]]
"""Streams and their keys."""


def edge_key(secret: bytes) -> bytes:
    """The key that edges are given: 32 bytes, which tell nothing of the secret of the log."""
    return derive(secret, PURPOSE)


def read_key(text: str) -> Vault:
    """What the key of an edge unwraps.

    Raises:
        SetupError: it is no such key.
    """
    try:
        return Vault(b64decode(text, validate=True))
    except (ValueError, WrongKey):
        raise SetupError(
            "edge_key (EXECUTIONS_EDGE_KEY): must be what `executions relay key` prints"
        ) from None


async def wrap_for_edges(store: Store, vault: Vault, streams: Iterable[str]) -> Wrapped:
    """The data keys of streams as the database has them at this moment, wrapped for edges. Streams that have none
    (any more), or no content, are left out.

    Raises:
        Overloaded: the database is away.
    """
    own = StateLoader(store.codec, store.keyring.ephemeral())
    async with store.reader() as connection:
        wanted = [stream for stream in streams if stream.startswith(WITH_CONTENT)]
        found = await own.learn(connection, wanted)
    return [(stream, _wrap(vault, key)) for stream, key in found.items()]


def as_json(keys: Wrapped) -> bytes:
    """Wrapped keys as they travel; `from_json` reads them."""
    return orjson.dumps([(stream, b64encode(key).decode()) for stream, key in keys])


def from_json(data: bytes) -> Wrapped:
    """Raises ValueError where there are none."""
    return [(stream, b64decode(key)) for stream, key in orjson.loads(data)]


def _wrap(vault: Vault, key: DataKey) -> bytes:
    return DAMAGED if isinstance(key, DamagedKey) else vault.wrap(key)
