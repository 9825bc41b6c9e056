"""What one transaction writes, and how to find out whether it was committed where the connection broke."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.errors import ObjectNotInPrerequisiteState

from domain.errors import Overloaded
from domain.eventlog.codec import EventRow, LineRow
from domain.eventlog.connection.heartbeats import HEARTBEATS_WRITTEN, NO_HEARTBEATS, Heartbeats
from domain.eventlog.connection.pg_arrays import columns
from domain.eventlog.connection.timeouts import OUTAGES
from domain.eventlog.idempotency import Reply
from domain.eventlog.queries import HEARTBEAT_ARRAYS
from domain.outages import AWAY

SHUTDOWN = "57P"
"""SQLSTATE 57P*: the server is shutting down; that may be reported although the commit succeeded."""

EVENT_WRITTEN = """SELECT notification_id FROM events WHERE originator_id = %b AND originator_version = %b
    AND at = %b AND meta = %b AND state = %b"""
REPLY_WRITTEN = "SELECT 0 FROM idempotency_keys WHERE key = %b AND fingerprint = %b AND at = %b"
LINE_WRITTEN = "SELECT 0 FROM log_lines WHERE execution = %b AND occurred_at = %b AND sealed = %b"

IN_RECOVERY = "SELECT FROM pg_is_in_recovery() AS standby WHERE standby"
WAIT_FOR_QUORUM = "SELECT pg_logical_emit_message(true, 'executions', '')"
"""Writes nothing that is kept, and commits: that waits for the standbys that commits have to wait for."""


class CommitCheck(NamedTuple):
    """A query that shows whether a batch was committed: it returns the position of the last event of the batch, 0 where the
    batch has no event, and no row where it was not committed.
    """

    query: str
    values: tuple[Any, ...]


class Commit(NamedTuple):
    """What one transaction writes, at least one row."""

    events: Sequence[EventRow]
    at: datetime
    replies: Sequence[Reply] = ()
    lines: Sequence[LineRow] = ()
    heartbeats: Heartbeats = NO_HEARTBEATS

    @property
    def check(self) -> CommitCheck:
        """The query that looks for the last of its rows."""
        if self.events:
            last = self.events[-1]
            values = (last.stream, last.version, self.at, last.meta, last.data)
            return CommitCheck(EVENT_WRITTEN, values)
        if self.replies:
            reply = self.replies[0]
            return CommitCheck(REPLY_WRITTEN, (reply.key, reply.fingerprint, self.at))
        if not self.lines:
            sent = columns(HEARTBEAT_ARRAYS, self.heartbeats.items())
            return CommitCheck(HEARTBEATS_WRITTEN, tuple(sent))
        line = self.lines[-1]
        return CommitCheck(LINE_WRITTEN, (line.execution, line.occurred_at, line.sealed))


class FormerKey(Overloaded):
    """The master key of this log was changed while this server ran: until it is started again with the new one, it
    records nothing that needs a new data key.
    """


async def find_written(connection: AsyncConnection, check: CommitCheck) -> int | None:
    """The result of a check, None where the batch was not committed. Returns once the standbys that commits wait for have
    the commit, too: one whose connection ended while it waited for them is visible on the primary, and would be lost with it.

    Raises:
        Overloaded: this is a standby, such as a former primary: it may lack the batch, or have it where the new primary lacks it.
    """
    standby = await connection.execute(IN_RECOVERY)
    if await standby.fetchone() is not None:
        raise Overloaded(AWAY)
    row = await (await connection.execute(check.query, check.values)).fetchone()
    if row is None:
        return None
    await connection.execute(WAIT_FOR_QUORUM)
    return int(row[0])


class OutcomeLost(Exception):
    """The connection broke while a batch was committed; `check` shows whether it was."""

    def __init__(self, check: CommitCheck) -> None:
        super().__init__("the connection broke during the commit")
        self.check = check


@contextmanager
def detect_lost_commit(commit: Commit) -> Iterator[None]:
    """Turn the loss of the connection during a commit into `OutcomeLost`, and new data keys that were wrapped by a
    former master key into `FormerKey`; what else the server reports passes.
    """
    try:
        yield
    except ObjectNotInPrerequisiteState as error:
        raise FormerKey from error
    except OUTAGES as error:
        state = getattr(error, "sqlstate", None)
        if state is not None and not state.startswith(SHUTDOWN):
            raise
        raise OutcomeLost(commit.check) from error
