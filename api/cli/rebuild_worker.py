"""One of several processes that rebuild views: applies the share of the log that standard input names."""

from __future__ import annotations

import asyncio
import os
import sys
from base64 import b64decode

from api.starter import task_of_starter
from api.telemetry.logging import configure_logging
from domain import registry
from domain.eventlog.encryption import KEY_BYTES, Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.store import Store
from projections.engine.parallel_rebuild import Share, apply
from projections.registry import all_projections

COMMAND = (sys.executable, "-P", "-m", "api.cli.rebuild_worker")
POLITE = 5
"""Added to the niceness, so that the server has priority."""


def main() -> None:
    """Apply the share of the log on standard input."""
    os.nice(POLITE)
    configure_logging("warning")
    share = Share.parse(task_of_starter())
    try:
        asyncio.run(_apply(share))
    except Exception as error:  # noqa: BLE001 - every error becomes one line for the operator
        sys.exit(f"{type(error).__name__}: {error}")


async def _apply(share: Share) -> None:
    codec = registry.codec()
    key = bytes(KEY_BYTES) if share.key is None else b64decode(share.key)
    store = Store(share.conninfo, share.schema, codec, Keyring(Vault(key)))
    await store.open()
    try:
        await apply(share, all_projections(codec), store)
    finally:
        await store.close()


if __name__ == "__main__":
    main()
