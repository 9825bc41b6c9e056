"""Looks up the addresses of a host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from threading import Thread

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""A function that returns the addresses of a host and port, as texts. Raises OSError where there are none."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a host. A look-up cannot be cancelled, so it runs in a daemon thread, which does not delay the end of the
    program.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[str]] = loop.create_future()

    def answer(addresses: Sequence[str], error: Exception | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def work() -> None:
        addresses, failed = [], None
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, UnicodeError) as error:
            failed = error
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(answer, addresses, failed)

    Thread(target=work, name=f"look up {host}", daemon=True).start()
    return await found
