"""Comparison of the two databases of a move: every difference is found and named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString, NamedTuple

import psycopg
import pytest
from psycopg import Connection

from domain.eventlog.moving.databases import connect_for_move
from domain.eventlog.moving.digests import Comparison, Different
from domain.eventlog.moving.tables import stored_tables, tables
from domain.eventlog.setup.databases import in_database
from tests.support.databases import new_database

SCHEMA = "executions"
FILL = """INSERT INTO events SELECT n, n, '2026-11-29', 'user/ann', 'user.registered', '{}', 'x'
        FROM generate_series(1, 5) AS n;
    UPDATE head SET position = 5, log_id = 'the same';
    INSERT INTO data_keys VALUES ('user/ann', 'wrapped');
    INSERT INTO log_lines VALUES ('run-1', '2026-11-29', 1, '2026-11-29', 'info', NULL, 'sealed')"""
UNGUARDED = "ALTER TABLE events DISABLE TRIGGER append_only"


class Databases(NamedTuple):
    """Two databases with the same rows."""

    old: Connection[Any]
    new: Connection[Any]


@pytest.fixture
def databases(admin: psycopg.Connection, database: str) -> Iterator[Databases]:
    with (
        new_database(admin) as name,
        connect_for_move(database, SCHEMA) as old,
        connect_for_move(in_database(database, name), SCHEMA) as new,
    ):
        for each in (old, new):
            each.execute(FILL)
        yield Databases(old, new)


def compare(databases: Databases) -> int:
    """The number of rows. The past and the remaining events are compared as in a move."""
    comparison = Comparison(*databases)
    found = stored_tables(tables(databases.old))
    past = comparison.compare_past(found, lambda *_: None)
    return past + comparison.compare_remaining(found).rows


def test_connections_of_a_move_commit_synchronously(
    databases: Databases, admin: psycopg.Connection
) -> None:
    setting = "SHOW synchronous_commit"
    assert admin.execute(setting).fetchone() == ("off",)
    assert [each.execute(setting).fetchone() for each in databases] == [("on",), ("on",)]


def test_equal_databases_have_no_difference(databases: Databases) -> None:
    assert compare(databases) > 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "UPDATE events SET meta = '{ }' WHERE notification_id = 3",
            "rows of the table events differ",
        ),
        (
            "DELETE FROM events WHERE notification_id = 1",
            "of the table events",
        ),
        (
            "DELETE FROM events WHERE notification_id = 5",
            "of the table events",
        ),
        ("UPDATE data_keys SET wrapped = 'other'", "rows of the table data_keys differ"),
        ("DELETE FROM log_lines", "of the table log_lines_.* 1 rows"),
        ("UPDATE head SET position = 4", "the head of the log is"),
        ("UPDATE head SET log_id = 'another'", "the head of the log is"),
    ],
)
def test_difference_is_found(databases: Databases, change: LiteralString, said: str) -> None:
    databases.new.execute(UNGUARDED)
    databases.new.execute(change)
    with pytest.raises(Different, match=said):
        compare(databases)


def test_event_appended_after_the_past_was_compared_is_compared(databases: Databases) -> None:
    comparison, found = Comparison(*databases), stored_tables(tables(databases.old))
    comparison.compare_past(found, lambda *_: None)
    for each, meta in zip(databases, ("{}", "other"), strict=True):
        each.execute(
            "INSERT INTO events VALUES (6, 6, '2026-11-29', 'user/ann', 'user.registered', %s, 'x')",
            (meta,),
        )
    with pytest.raises(Different, match="rows of the table events differ"):
        comparison.compare_remaining(found)
