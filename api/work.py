"""The work that no request waits for: keeping the views up to the log. Its parts are wired here."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from domain import registry
from domain.eventlog.encryption import KEY_BYTES, Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.notifications import Listener
from domain.eventlog.store import Store
from projections.engine.runner import Runner
from projections.registry import all_projections

WATCH = 1.0
"""Seconds between two calls of `watch`."""
NO_KEY = Vault(bytes(KEY_BYTES))
"""Views keep what is sealed as it is: no key is ever asked for."""


def new_runner(conninfo: str, schema: str, listener: Listener) -> Runner:
    """What follows the log for every view. Make it before the listener is started."""
    codec = registry.codec()
    store = Store(conninfo, schema, codec, Keyring(NO_KEY))  # not opened: pages are read elsewhere
    views = all_projections(codec)
    return Runner(views, store, listener, conninfo=conninfo, schema=schema)


@asynccontextmanager
async def working(conninfo: str, schema: str) -> AsyncIterator[Runner]:
    """The views follow the log while the block runs."""
    listener = Listener(conninfo, schema)
    runner = new_runner(conninfo, schema, listener)
    listener.start()
    runner.start()
    try:
        yield runner
    finally:
        await runner.stop()
        await listener.stop()


def work_until_stopped(
    conninfo: str, schema: str, watch: Callable[[], object] = lambda: None
) -> None:
    """Work until SIGTERM or SIGINT, in the main thread; `watch` is called every second."""
    relax_collector()
    asyncio.run(_until_stopped(conninfo, schema, watch))


async def _until_stopped(conninfo: str, schema: str, watch: Callable[[], object]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with working(conninfo, schema):
        while not stopped.is_set():
            watch()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), WATCH)


def relax_collector() -> None:
    """Collect garbage seldom: what lives here, states and rows, is freed by counting alone.

    With Python's own thresholds a third of the time of an import went into looking at states that
    were all still needed. Cycles (exceptions, closed connections) can wait for 100 000 objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
