"""One process of several that rebuild a view: it applies the share told on its standard input."""

from __future__ import annotations

import asyncio
import os
import sys
from io import FileIO
from threading import Thread

from api.diagnostics import configure_logging
from domain import house
from domain.keyring import Keyring
from domain.store import Store
from domain.vault import KEY_BYTES, Vault
from projections.house import all_views
from projections.parts import Share, apply

COMMAND = (sys.executable, "-P", "-m", "api.part")
POLITE = 5
"""Added to the niceness: who serves goes first."""


def main() -> None:
    """Apply the share, and end at once where standard input does."""
    os.nice(POLITE)
    configure_logging("warning")
    told = FileIO(0, closefd=False)
    share = Share.heard(told.readline())
    Thread(target=_end_with, args=(told,), name="end with the starter", daemon=True).start()
    try:
        asyncio.run(_apply(share))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is one line for the operator
        sys.exit(f"{type(error).__name__}: {error}")


async def _apply(share: Share) -> None:
    codec = house.codec()
    [view] = [view for view in all_views(codec) if view.name == share.view]
    # Views keep what is sealed as it is: no key is ever asked for.
    store = Store(share.conninfo, share.schema, codec, Keyring(Vault(bytes(KEY_BYTES))))
    await store.open()
    try:
        await apply(share, view, store)
    finally:
        await store.close()


def _end_with(told: FileIO) -> None:
    told.read(1)
    os._exit(1)


if __name__ == "__main__":
    main()
