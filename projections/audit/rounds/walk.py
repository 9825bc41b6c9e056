"""The progress of the background auditor, and the faults that it has found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from psycopg import AsyncConnection

from domain.integrity.fault import Fault

MOST_NAMED = 100
"""Faults that are named; of more, as where a whole table is lost, only their number is known."""
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
STALE = "SELECT id FROM audit_faults WHERE round < (SELECT round FROM audit_walk) ORDER BY id"
FORGET = "DELETE FROM audit_faults WHERE id = %b"
COUNT = """SELECT round, position, greatest(found, (SELECT count(*) FROM audit_faults))
    FROM audit_walk"""


class Walk(NamedTuple):
    """A round through the log of `origin`: the position reached, that to reach, and how many faults it has
    found so far.
    """

    round: int
    position: int
    until: int
    origin: str
    began_at: datetime
    found: int


class AuditTotals(NamedTuple):
    """Rounds that were begun, the position that this one has reached, and how many faults there are."""

    rounds: int = 0
    position: int = 0
    faults: int = 0


def fault_id(fault: Fault) -> str:
    """The same for one that is found again, whatever is wrong there by then."""
    named = "\n".join((fault.part, fault.place, fault.member or ""))
    return sha256(named.encode()).hexdigest()[:32]


async def walk_of(connection: AsyncConnection) -> Walk | None:
    """Where the auditor is; None where that is lost."""
    row = await (await connection.execute(WALK, binary=True)).fetchone()
    return None if row is None else Walk(*row)


async def begin_round(connection: AsyncConnection, until: int, origin: str, at: datetime) -> None:
    """Begin at the first event again."""
    await connection.execute(BEGIN_ROUND, (until, origin, at))


async def reach(connection: AsyncConnection, position: int, found: int) -> None:
    """Everything up to a position was looked at, with so many more faults."""
    await connection.execute(REACH, (position, found))


async def store_fault(connection: AsyncConnection, fault: Fault) -> bool:
    """Note that a fault was found in this round; whether it is new, and one of those that are named."""
    id_ = fault_id(fault)
    row = await (
        await connection.execute(STORE_FAULT, (id_, *fault_values(fault), id_, MOST_NAMED))
    ).fetchone()
    return row == (True,)


def fault_values(fault: Fault) -> Sequence[object]:
    """Its columns."""
    return fault.part, fault.place, fault.what, fault.position, fault.member


async def read_unreported(connection: AsyncConnection) -> list[tuple[str, Fault]]:
    """The faults that the log does not say yet, by id."""
    rows = await (await connection.execute(UNREPORTED)).fetchall()
    return [(id_, Fault(*columns)) for id_, *columns in rows]


async def mark_reported(connection: AsyncConnection, id_: str) -> None:
    """The log says it."""
    await connection.execute(REPORTED, (id_,))


async def stale(connection: AsyncConnection) -> list[str]:
    """Faults of earlier rounds that this one, which is over, has not found."""
    rows = await (await connection.execute(STALE)).fetchall()
    return [id_ for (id_,) in rows]


async def forget(connection: AsyncConnection, id_: str) -> None:
    """The fault is not there any more, and the log says so."""
    await connection.execute(FORGET, (id_,))


async def audit_totals(connection: AsyncConnection) -> AuditTotals:
    """For metrics and readiness."""
    row = await (await connection.execute(COUNT)).fetchone()
    return AuditTotals() if row is None else AuditTotals(*row)
