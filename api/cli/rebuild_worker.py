"""One process of several that rebuild a view: it applies the share told on its standard input."""

from __future__ import annotations

import asyncio
import os
import sys
from io import FileIO
from threading import Thread

from api.telemetry.logging import configure_logging
from domain import registry
from domain.eventlog.encryption import KEY_BYTES, Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.store import Store
from projections.engine.parallel_rebuild import Share, apply
from projections.registry import all_projections

COMMAND = (sys.executable, "-P", "-m", "api.cli.rebuild_worker")
POLITE = 5
"""Added to the niceness: who serves goes first."""


def main() -> None:
    """Apply the share, and end at once where standard input does."""
    os.nice(POLITE)
    configure_logging("warning")
    starter = FileIO(0, closefd=False)
    share = Share.parse(starter.readline())
    Thread(target=_end_with, args=(starter,), name="end with the starter", daemon=True).start()
    try:
        asyncio.run(_apply(share))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is one line for the operator
        sys.exit(f"{type(error).__name__}: {error}")


async def _apply(share: Share) -> None:
    codec = registry.codec()
    [view] = [view for view in all_projections(codec) if view.name == share.view]
    # Views keep what is sealed as it is: no key is ever asked for.
    store = Store(share.conninfo, share.schema, codec, Keyring(Vault(bytes(KEY_BYTES))))
    await store.open()
    try:
        await apply(share, view, store)
    finally:
        await store.close()


def _end_with(starter: FileIO) -> None:
    starter.read(1)
    os._exit(1)


if __name__ == "__main__":
    main()
