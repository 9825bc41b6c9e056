"""Cancels the work for a client that has disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")

BRIEFLY = 0.05
"""Seconds of work before the connection is watched for a disconnect: most work is done by then."""


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """Await `work` for a request whose body was read or is empty.

    Raises:
        ClientDisconnect: the client disconnected before the work was done; the work is cancelled.
    """
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({working}, timeout=BRIEFLY)
        if not working.done():
            await _wait_for_either(receive, working)
        return working.result()
    finally:
        if working.cancel():  # else it is done, and nobody waits for another turn of the loop
            await asyncio.gather(working, return_exceptions=True)


async def _wait_for_either(receive: Receive, working: asyncio.Future[T]) -> None:
    disconnected = asyncio.create_task(
        _wait_for_disconnect(receive), name="wait for the client to disconnect"
    )
    try:
        either: set[asyncio.Future[Any]] = {working, disconnected}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
    finally:
        disconnected.cancel()
        await asyncio.gather(disconnected, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
