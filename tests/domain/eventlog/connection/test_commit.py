"""Whether a batch was committed is found out by what it would have written."""

from __future__ import annotations

import psycopg

from domain.eventlog.connection.commit import Commit
from tests.support.sample_aggregate import NOON

STORE = "INSERT INTO heartbeats (execution, at) VALUES (%s, %s)"


def test_heartbeats_are_committed_where_all_of_them_are_stored(database: str) -> None:
    check = Commit([], NOON, heartbeats={"a": NOON, "b": NOON}).check
    options = "-c search_path=executions"
    with psycopg.connect(database, autocommit=True, options=options) as connection:
        connection.execute(STORE, ("a", NOON))
        assert connection.execute(check.query, check.values).fetchone() is None
        connection.execute(STORE, ("b", NOON))
        assert connection.execute(check.query, check.values).fetchone() == (0,)
