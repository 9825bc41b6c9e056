"""Cancels the work for a client that has disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")

BRIEFLY = 0.05
"""Seconds before the first look whether the client has gone: most work is done by then."""


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """The result of the work, for a request whose body was read or has none.

    Raises:
        ClientDisconnect: the client went first; the work is cancelled.
    """
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({working}, timeout=BRIEFLY)
        if not working.done():
            await _done_or_left(receive, working)
        return working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _done_or_left(receive: Receive, working: asyncio.Future[T]) -> None:
    leaving = asyncio.create_task(_wait_for_disconnect(receive), name="wait for the client to go")
    try:
        either: set[asyncio.Future[Any]] = {working, leaving}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
    finally:
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
