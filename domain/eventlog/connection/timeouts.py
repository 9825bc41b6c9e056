"""Notices in time that the database is unavailable or hangs, and turns such errors into `Overloaded`."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg_pool import PoolTimeout

from domain.errors import Overloaded
from domain.outages import AWAY, MOVING, Outages

FENCED = "the log is being moved"
"""What the error of the fence says while a log is moved (`domain/eventlog/moving/fence.py`)."""
NO_SPACE = "No space left on device"
OF_CONNECTIONS = ("08", "57P", "53300")
"""SQLSTATEs of connections that cannot be made or are ended. The error of a connection that broke has no SQLSTATE."""
OUTAGES = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,  # a primary that has become a standby
    PoolTimeout,
    TimeoutError,
)
LIMITS = (
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
    psycopg.errors.TooManyColumns,
    psycopg.errors.TooManyArguments,
)
"""Errors of class 54: a statement is beyond a limit of PostgreSQL. psycopg counts them as operational, but they are no
outages: the same statement fails again."""


def is_outage(error: Exception) -> bool:
    """Whether an error means that the database or an archive is unavailable, so that the same may succeed later."""
    return isinstance(error, (*OUTAGES, Overloaded)) and not isinstance(error, LIMITS)


@asynccontextmanager
async def available() -> AsyncIterator[None]:
    """Turn the errors of a database that is unavailable or too slow into `Overloaded`."""
    try:
        yield
    except OUTAGES as error:
        raise Overloaded(AWAY) from error


def note_outage(error: Exception, outages: Outages) -> Overloaded:
    """Report an error to `outages`, if it means that the database is unavailable or full. Return the error for the caller."""
    if isinstance(error, psycopg.errors.ObjectInUse) and FENCED in str(error):
        return Overloaded(MOVING)
    if isinstance(error, psycopg.errors.DiskFull) or NO_SPACE in str(error):
        outages.disk_is_full(str(error))
    elif _is_of_connection(error):
        outages.begin(str(error))
    return outages.current or Overloaded(AWAY)


def _is_of_connection(error: Exception) -> bool:
    if isinstance(error, psycopg.InterfaceError):
        return True
    if not isinstance(error, psycopg.OperationalError) or isinstance(error, PoolTimeout):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(OF_CONNECTIONS)


@contextmanager
def cut_after(seconds: float, connection: AsyncConnection) -> Iterator[None]:
    """Shut the connection down after so many seconds, which ends a pending call with an error.

    Not `asyncio.timeout`: after a cancellation psycopg asks the server to cancel the query, and waits up to ten seconds for
    a server that hangs.
    """
    timer = asyncio.get_running_loop().call_later(seconds, _cut, connection)
    try:
        yield
    finally:
        timer.cancel()


def is_closed_by_server(connection: AsyncConnection) -> bool:
    """Whether the server has closed an idle connection; costs a system call, not a round trip.

    The server sends nothing over an idle connection but its end.
    """
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _cut(connection: AsyncConnection) -> None:
    # Shut down, not closed: the pending call still has the descriptor in the event loop.
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


def with_keepalives(conninfo: str) -> str:
    """Add keepalives to a connection string, so that the loss of the host is noticed within seconds."""
    return make_conninfo(
        conninfo,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=15_000,  # for a host that is lost while a query is unanswered
    )
