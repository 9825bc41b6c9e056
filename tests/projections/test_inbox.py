"""The inbox finds waiting items by indexes. The tests of its route test what it shows."""

from __future__ import annotations

import psycopg
import pytest

from projections import inbox

EVENTS = """INSERT INTO events SELECT n, n % 10 + 1, now(), 'execution/' || n / 10, 'type', '', ''
    FROM generate_series(10, 10009) AS n;
    ANALYZE events"""


@pytest.mark.parametrize("items", [inbox.OWN, inbox.FOLLOWING])
def test_items_are_found_without_reading_the_log(database_with_views: str, items: str) -> None:
    with psycopg.connect(database_with_views, options="-c search_path=executions") as connection:
        connection.execute(EVENTS)
        rows = connection.execute(f"EXPLAIN {items}".encode()).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "on events" in plan
    assert "Seq Scan on events" not in plan
