"""Pools of connections to the log's database, in autocommit, that are made again whenever they must be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from domain.eventlog.connection.timeouts import OUTAGES

CONNECT_TIMEOUT = 3
"""Seconds after which the connection to a database that hangs is cut."""
NO_WAIT = "-c lock_timeout=4s -c statement_timeout=5s"
SEARCH_TIMEOUT = 500
"""Milliseconds that the database may take for one statement of a search."""
# Workers make one search faster and several slower; compiling takes longer than a search may.
SEARCHING = (
    f"-c statement_timeout={SEARCH_TIMEOUT}ms -c max_parallel_workers_per_gather=0 -c jit=off"
)
IDLE = 10.0
"""Seconds after which a connection is closed that no log has used, where several share them."""
OnFailed = Callable[[AsyncConnectionPool], Awaitable[None]]


def new_pool(
    conninfo: str,
    options: str,
    size: int,
    on_failed: OnFailed,
    kind: type[AsyncConnection] | None = None,
    **more: Any,
) -> AsyncConnectionPool:
    """A pool that is not open yet. Connections of a `kind` are shared by logs: there are none while none is needed.

    `on_failed` is called where it could not connect; `more` are parameters of each connection.
    """
    kept: dict[str, Any] = {"min_size": 1}
    if kind is not None:
        kept = {"connection_class": kind, "min_size": 0, "max_idle": IDLE}
    return AsyncConnectionPool(
        conninfo,
        kwargs={"connect_timeout": CONNECT_TIMEOUT, "options": options, "autocommit": True, **more},
        max_size=size,
        timeout=CONNECT_TIMEOUT,
        reconnect_timeout=0,
        reconnect_failed=on_failed,
        open=False,
        **kept,
    )


async def reason_away(conninfo: str, **options: Any) -> str | None:
    """Why a database cannot be reached; None where it can."""
    try:
        connection = await AsyncConnection.connect(
            conninfo, connect_timeout=CONNECT_TIMEOUT, **options
        )
    except OUTAGES as error:
        return str(error)
    await connection.close()
    return None
