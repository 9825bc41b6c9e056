"""The rows of a COPY, consumed as they arrive."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.errors import DivisionByZero, QueryCanceled

from projections.log_lines.archive.export import rows_of

COPY = "COPY ({}) TO STDOUT"
FAILING = COPY.format("SELECT n + 0 / (20000 - n) FROM generate_series(1, 20000) n")
ENDLESS = COPY.format("SELECT generate_series(1, 1000000000)")


def rows(connection: psycopg.Connection, copied: str, cancelled_after: int = 0) -> int:
    """The number of rows that a COPY yields, each of which must be the next number."""
    found = 0
    with connection.cursor() as cursor, cursor.copy(copied.encode()) as copy:
        for data in rows_of(copy, connection.pgconn):
            found += 1
            assert int(bytes(data)) == found
            if found == cancelled_after:
                connection.cancel_safe()
    return found


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connected:
        yield connected


@pytest.mark.parametrize("numbers", [0, 1, 20_000])
def test_every_row_arrives_in_order_and_the_connection_can_be_used_again(
    connection: psycopg.Connection, numbers: int
) -> None:
    assert rows(connection, COPY.format(f"SELECT generate_series(1, {numbers})")) == numbers
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_copy_that_fails_or_is_cancelled_midway_raises(connection: psycopg.Connection) -> None:
    with pytest.raises(DivisionByZero):
        rows(connection, FAILING)
    with pytest.raises(QueryCanceled):
        rows(connection, ENDLESS, cancelled_after=500)
    assert connection.execute("SELECT 1").fetchone() == (1,)
