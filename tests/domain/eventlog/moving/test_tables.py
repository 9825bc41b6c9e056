"""Tables of a move: each has a replica identity, and the new database gets the same partitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from domain.eventlog.moving.databases import connect_for_move
from domain.eventlog.moving.tables import (
    align_partitions,
    differences,
    empty,
    identify,
    stored_tables,
    tables,
)
from domain.eventlog.setup.databases import in_database
from tests.support.databases import new_database

SCHEMA = "executions"


@pytest.fixture
def old(database: str) -> Iterator[Connection[Any]]:
    with connect_for_move(database, SCHEMA) as connection:
        yield connection


@pytest.fixture
def new(admin: psycopg.Connection, database: str) -> Iterator[Connection[Any]]:
    with (
        new_database(admin) as name,
        connect_for_move(in_database(database, name), SCHEMA) as connection,
    ):
        yield connection


def test_changes_of_every_table_identify_their_row(old: Connection[Any]) -> None:
    assert [
        name for name, table in stored_tables(tables(old)).items() if not table.replicable
    ] == []
    old.execute("CREATE TABLE notes (text text)")
    assert not tables(old)["notes"].replicable


def test_table_without_a_primary_key_is_identified_by_its_unique_index(
    old: Connection[Any],
) -> None:
    old.execute("CREATE TABLE notes (id text NOT NULL UNIQUE, text text)")
    identify(old, tables(old).values())
    assert tables(old)["notes"].keyed


def test_new_database_gets_the_partitions_of_the_old_one(
    old: Connection[Any], new: Connection[Any]
) -> None:
    old.execute("SELECT make_log_day('2020-01-01'), make_access_day('2020-01-01')")
    new.execute("SELECT make_log_day('2030-01-01')")
    parts = [
        {name: table for name, table in tables(each).items() if table.parent is not None}
        for each in (old, new)
    ]
    empty(new, tables(new))
    align_partitions(new, *parts)
    assert differences(tables(old), tables(new)) == []
    assert tables(new).keys() == tables(old).keys()
    assert tables(new)["log_lines_20200101"].keyed


def test_table_that_is_missing_or_different_in_the_new_database_is_named(
    old: Connection[Any], new: Connection[Any]
) -> None:
    old.execute("CREATE TABLE notes (id text PRIMARY KEY); ALTER TABLE head ADD COLUMN more text")
    assert differences(tables(old), tables(new)) == [
        "it lacks the table notes",
        "its table head has other columns",
    ]
