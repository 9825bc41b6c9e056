"""Pools of connections to the database of a log, in autocommit, which reconnect by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from psycopg import AsyncConnection, OperationalError
from psycopg_pool import AsyncConnectionPool

from domain.eventlog.connection.timeouts import OUTAGES
from domain.eventlog.sessions import SERIAL

CONNECT_TIMEOUT = 3
"""Seconds that connecting to a database, or waiting for a pooled connection, may take."""
NO_WAIT = "-c lock_timeout=4s -c statement_timeout=5s"
"""Options of sessions: no statement waits, or runs, for long."""
SEARCH_TIMEOUT = 500
"""Milliseconds that the database may take for one statement of a search."""
# Parallel workers make one search faster and several slower; JIT compilation takes longer than a search may.
SEARCHING = f"-c statement_timeout={SEARCH_TIMEOUT}ms {SERIAL}"
AGAIN = 0.1
"""Seconds until a pool that could not connect tries again, while requests wait for a connection."""
IDLE = 10.0
"""Seconds without use after which a connection is closed that several logs share."""
OnFailed = Callable[[AsyncConnectionPool], Awaitable[None]]


class RetryingPool(AsyncConnectionPool):
    """Tries to connect again while requests wait: without this, a pool that could not connect does so only for the next request."""

    retries = True
    """Whether it does; a read that a standby does not answer at once is answered by the primary."""
    _waiting_requests = 0

    async def getconn(self, timeout: float | None = None) -> AsyncConnection:  # noqa: ASYNC109 - as in the base class
        self._waiting_requests += 1
        try:
            return await super().getconn(timeout)
        finally:
            self._waiting_requests -= 1

    async def reconnect_failed(self) -> None:
        await super().reconnect_failed()
        if self.retries and self._waiting_requests:
            await asyncio.sleep(AGAIN)
            with suppress(OperationalError):  # it still cannot connect, or is closed
                await self.putconn(await super().getconn(AGAIN))


def new_pool(
    conninfo: str,
    options: str,
    size: int,
    on_failed: OnFailed,
    kind: type[AsyncConnection] | None = None,
    **more: Any,
) -> RetryingPool:
    """Make a pool, which the caller opens.

    With a class `kind`, its connections are shared by logs, and none is open while none is needed. `on_failed` is called
    after the pool could not connect. `more` are parameters of each connection.
    """
    sizes: dict[str, Any] = {"min_size": 1}
    if kind is not None:
        sizes = {"connection_class": kind, "min_size": 0, "max_idle": IDLE}
    return RetryingPool(
        conninfo,
        kwargs={"connect_timeout": CONNECT_TIMEOUT, "options": options, "autocommit": True, **more},
        max_size=size,
        timeout=CONNECT_TIMEOUT,
        reconnect_timeout=0,
        reconnect_failed=on_failed,
        open=False,
        **sizes,
    )


async def reason_away(conninfo: str, **options: Any) -> str | None:
    """The error with which a database cannot be reached; None where it can be."""
    try:
        connection = await AsyncConnection.connect(
            conninfo, connect_timeout=CONNECT_TIMEOUT, **options
        )
    except OUTAGES as error:
        return str(error)
    await connection.close()
    return None
