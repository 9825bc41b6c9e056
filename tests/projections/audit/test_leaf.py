"""PostgreSQL and Python compute the same leaf of a row, and different rows have different leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from psycopg import AsyncConnection

from domain.eventlog.codec import EventRow
from domain.eventlog.sessions import session_options
from projections.audit import tables
from projections.audit.leaf import leaf_bytes
from projections.audit.merkle import leaf_hash
from projections.audit.tables import hashes_after
from tests.support.random_logs import KEEP

pytestmark = pytest.mark.anyio

CHANCE = Random(11)
LETTERS = 'aé€😀/\n"\\{}'


def random_row() -> EventRow:
    stream, type_, meta = (
        "".join(CHANCE.choices(LETTERS, k=CHANCE.randrange(40))) for _ in range(3)
    )
    days, micros = (
        timedelta(CHANCE.randrange(-700_000, 2_900_000)),
        CHANCE.randrange(86_400_000_000),
    )
    at = datetime(1970, 1, 1, tzinfo=UTC) + days + timedelta(microseconds=micros)
    position, version = CHANCE.randrange(1, 2**63), CHANCE.randrange(2**63)
    data = CHANCE.randbytes(CHANCE.randrange(300))
    return EventRow(position, version, at, stream, type_, meta, data)


ROWS = [random_row() for _ in range(200)]
SAMPLE = EventRow(7, 2, datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), "a/b", "t", "{}", b"[]")


def test_leaf_has_the_specified_bytes() -> None:
    assert leaf_bytes(SAMPLE).hex(" ") == (
        "01 00 00 00 00 00 00 00 07 00 00 00 00 00 00 00 02 "
        "00 06 47 5e f6 57 4f 35 00 00 00 03 61 2f 62 00 00 00 01 74 00 00 00 02 7b 7d 00 00 00 02 5b 5d"
    )


async def test_database_computes_the_same_leaf(database: str) -> None:
    options = session_options("executions")
    async with await AsyncConnection.connect(database, options=options) as connection:
        for row in ROWS:
            await connection.execute(KEEP, row)
            found = await hashes_after(connection, row.position - 1, row.position, 10)
            assert found == [(row.position, leaf_hash(leaf_bytes(row)))]
            await connection.rollback()


@pytest.mark.parametrize("at", ["infinity", "-infinity"])
async def test_infinite_time_is_hashed(database: str, at: str) -> None:
    options = session_options("executions")
    async with await AsyncConnection.connect(database, options=options) as connection:
        await connection.execute(KEEP, (1, 1, at, "a/b", "t", "{}", b""))
        assert len(await hashes_after(connection, 0, 1, 10)) == 1


async def test_page_of_hashes_ends_at_its_byte_limit(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "READ_BYTES", 100)
    options = session_options("executions")
    async with await AsyncConnection.connect(database, options=options) as connection:
        for number in range(1, 6):
            await connection.execute(
                KEEP, SAMPLE._replace(position=number, version=number, data=b"x" * 60)
            )
        assert [n for n, _ in await hashes_after(connection, 0, 5, 10)] == [1, 2]
        assert [n for n, _ in await hashes_after(connection, 2, 3, 10)] == [3]


@pytest.mark.parametrize(
    "other",
    [
        SAMPLE._replace(position=8),
        SAMPLE._replace(version=3),
        SAMPLE._replace(at=SAMPLE.at.replace(microsecond=678902)),
        SAMPLE._replace(stream="a/bt", type=""),
        SAMPLE._replace(meta="{}[", data=b"]"),
    ],
)
def test_another_row_has_another_leaf(other: EventRow) -> None:
    assert leaf_bytes(other) != leaf_bytes(SAMPLE)
