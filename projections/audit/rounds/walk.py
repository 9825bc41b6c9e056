"""Stores the progress of the auditor, and the faults that it has found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.integrity.fault import Fault

MOST_NAMED = 100
"""Faults that are stored. If there are more, as when a whole table is lost, only their number is stored."""
WALK = "SELECT round, position, until, origin, began_at, found FROM audit_walk"
BEGIN_ROUND = """UPDATE audit_walk SET round = round + 1, position = 0, until = %b, origin = %b,
    began_at = %b, found = 0"""
REACH = "UPDATE audit_walk SET position = %b, found = found + %b"
STORE_FAULT = """INSERT INTO audit_faults AS f (id, part, place, what, position, member, round)
    SELECT %b, %b, %b, %b, %b::bigint, %b, round FROM audit_walk
    WHERE EXISTS (SELECT FROM audit_faults WHERE id = %b) OR (SELECT count(*) FROM audit_faults) < %b
    ON CONFLICT (id) DO UPDATE SET round = excluded.round RETURNING xmax = 0"""
UNREPORTED = """SELECT id, part, place, what, position, member FROM audit_faults
    WHERE NOT reported ORDER BY id"""
REPORTED = "UPDATE audit_faults SET reported = true WHERE id = %b"
STALE = """SELECT f.id FROM audit_faults AS f, audit_walk AS w
    WHERE f.round < w.round AND w.until > 0 AND (f.position IS NULL OR f.position <= w.until)
        AND (f.part = 'archive' OR NOT EXISTS (
            SELECT FROM audit_faults AS a WHERE a.part = 'archive' AND a.round = w.round))
    ORDER BY f.id"""
FORGET = "DELETE FROM audit_faults WHERE id = %b"
COUNT = """SELECT round, position, greatest(found, (SELECT count(*) FROM audit_faults))
    FROM audit_walk"""


class Walk(NamedTuple):
    """A round through the log of `origin`: the position reached, the position to reach (`until`), and the number of faults
    found so far.
    """

    round: int
    position: int
    until: int
    origin: str
    began_at: datetime
    found: int


class AuditTotals(NamedTuple):
    """The number of rounds begun, the position that the present round has reached, and the number of faults."""

    rounds: int = 0
    position: int = 0
    faults: int = 0


def fault_id(fault: Fault) -> str:
    """Return an id that is the same whenever a fault is found again at the same place, even with another description."""
    named = "\n".join((fault.part, fault.place, fault.member or ""))
    return sha256(named.encode()).hexdigest()[:32]


async def walk_of(connection: AsyncConnection) -> Walk | None:
    """Return the progress of the auditor; None if its row is lost."""
    row = await (await connection.execute(WALK, binary=True)).fetchone()
    return None if row is None else Walk(*row)


async def begin_round(connection: AsyncConnection, until: int, origin: str, at: datetime) -> None:
    """Begin a new round at the first event."""
    await connection.execute(BEGIN_ROUND, (until, origin, at))


async def reach(connection: AsyncConnection, position: int, found: int) -> None:
    """Store that the log was checked up to a position, and add `found` to the number of faults of the round."""
    await connection.execute(REACH, (position, found))


async def store_fault(connection: AsyncConnection, fault: Fault) -> bool:
    """Store that a fault was found in this round; return whether it is new and within `MOST_NAMED`."""
    id_ = fault_id(fault)
    row = await (
        await connection.execute(STORE_FAULT, (id_, *fault_values(fault), id_, MOST_NAMED))
    ).fetchone()
    return row == (True,)


def fault_values(fault: Fault) -> Sequence[object]:
    """Return the values of a fault for its columns."""
    return fault.part, fault.place, fault.what, fault.position, fault.member


async def read_unreported(connection: AsyncConnection) -> list[tuple[str, Fault]]:
    """Return the faults, with their ids, that no event of the log reports yet."""
    rows = await (await connection.execute(UNREPORTED)).fetchall()
    return [(id_, Fault(*columns)) for id_, *columns in rows]


async def mark_reported(connection: AsyncConnection, id_: str) -> None:
    """Store that an event of the log reports a fault."""
    await connection.execute(REPORTED, (id_,))


async def stale(connection: AsyncConnection) -> list[str]:
    """Return the ids of the faults of earlier rounds that the present round, which has ended, has not found. What lies beyond
    its end, or in an archive file that cannot be read, was not looked at.
    """
    rows = await (await connection.execute(STALE)).fetchall()
    return [id_ for (id_,) in rows]


async def forget(connection: AsyncConnection, id_: str) -> None:
    """Delete a fault that was not found again, after an event of the log has reported that."""
    await connection.execute(FORGET, (id_,))


async def audit_totals(connection: AsyncConnection) -> AuditTotals:
    """Return the totals of the auditor, for metrics and readiness."""
    row = await (await connection.execute(COUNT)).fetchone()
    return AuditTotals() if row is None else AuditTotals(*row)
