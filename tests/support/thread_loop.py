"""An event loop in a thread of its own, which continues while the loop of the test is blocked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")
WITHIN = 10
"""Seconds for what is run there."""


class ThreadLoop:
    """The loop, while its thread runs."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WITHIN)


@contextmanager
def thread_loop(name: str) -> Iterator[ThreadLoop]:
    """A loop while the block runs; its tasks end with it."""
    made = ThreadLoop()
    thread = threading.Thread(target=made.loop.run_forever, name=name, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.run(_cancel_all())
        made.loop.call_soon_threadsafe(made.loop.stop)
        thread.join(WITHIN)
        made.loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Forward from one connection to the other until the end."""
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
