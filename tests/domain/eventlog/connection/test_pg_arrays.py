"""Values of every array type reach PostgreSQL unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from domain.eventlog.connection.pg_arrays import ITEMS, array, columns, placeholders

VALUES: dict[str, Sequence[Any]] = {
    "boolean": [True, False, None],
    "bytea": [b"\0\xff", b"", None],
    "bigint": [0, -(2**63), 2**63 - 1, None],
    "text": ["ä🙂", "", '{"a": "\\"}', "\x1f\n", None],
    "double precision": [1.5, -0.25, 7, None],
    "timestamptz": [
        datetime(2026, 11, 25, 12, 0, 0, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        None,
    ],
    "numeric": [Decimal("0.000000000000000000001"), Decimal("-12E+20"), Decimal(0), None],
}


@pytest.fixture
def connection(database: str) -> Any:
    with psycopg.connect(database, options="-c timezone=UTC") as connection:
        yield connection


def test_every_type_has_test_values() -> None:
    assert VALUES.keys() == ITEMS.keys()


@pytest.mark.parametrize("kind", ITEMS)
def test_values_are_read_back_unchanged(connection: Any, kind: str) -> None:
    sent = array(kind, VALUES[kind])
    cursor = connection.execute(f"SELECT {placeholders([kind])}", (sent,), binary=True)
    assert cursor.fetchone()[0] == VALUES[kind]


@pytest.mark.parametrize("kind", ITEMS)
def test_empty_list_is_an_empty_array(connection: Any, kind: str) -> None:
    query = f"SELECT count(*) FROM unnest({placeholders([kind])})"  # noqa: S608 - our constants
    cursor = connection.execute(query, (array(kind, []),))
    assert cursor.fetchone() == (0,)


def test_rows_become_columns(connection: Any) -> None:
    rows = [(1, "one"), (2, None)]
    cursor = connection.execute(
        "SELECT * FROM unnest(%b::bigint[], %b::text[])", columns(("bigint", "text"), rows)
    )
    assert cursor.fetchall() == rows


def test_repeated_texts_keep_their_order(connection: Any) -> None:
    values = ["running", None, "queued", "running", None, "queued"]
    cursor = connection.execute("SELECT %b::text[]", (array("text", values),), binary=True)
    assert cursor.fetchone()[0] == values


def test_equal_numbers_keep_their_digits(connection: Any) -> None:
    sent = array("numeric", [Decimal("1.0"), Decimal(1), Decimal("1.00")])
    cursor = connection.execute("SELECT (%b::text[]::numeric[])::text[]", (sent,), binary=True)
    assert cursor.fetchone()[0] == ["1.0", "1", "1.00"]


def test_value_of_another_type_is_refused() -> None:
    with pytest.raises(Exception, match="int"):
        array("bigint", ["1"])
