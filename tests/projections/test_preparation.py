"""Preparation of a log: by how many connections, and for which user."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domain.eventlog.setup.log_name import OtherName
from domain.eventlog.setup.roles import make_role
from projections.preparation import ReadyLog, make_ready

MASTER_KEY = b"m" * 32


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The users of all connections, in order."""
    made, connect = list[str](), psycopg.connect

    def count_call(conninfo: str, **options: Any) -> psycopg.Connection[Any]:
        made.append(str(conninfo_to_dict(conninfo)["user"]))
        return connect(conninfo, **options)

    monkeypatch.setattr(psycopg, "connect", count_call)
    return made


def prepare(owner: str, serving: str, name: str = "north") -> ReadyLog:
    return make_ready(owner, serving, "executions_north", name, MASTER_KEY)


def test_log_is_prepared_by_one_connection(database: str, connections: list[str]) -> None:
    made = prepare(database, database)
    assert prepare(database, database) == made
    assert connections == ["app"] * 2


def test_log_served_by_another_user_is_prepared_by_a_connection_of_each(
    database: str, connections: list[str]
) -> None:
    make_role(database, "north_server", "secret")
    serving = make_conninfo(database, user="north_server", password="secret")
    connections.clear()
    made = prepare(database, serving)
    assert prepare(database, serving) == made
    assert connections == ["app", "north_server"] * 2
    with (
        psycopg.connect(serving, options="-c search_path=executions_north") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("UPDATE events SET state = state")


def test_log_of_another_name_is_not_prepared(database: str) -> None:
    prepare(database, database)
    with pytest.raises(OtherName, match="this log is named `north`, not `south`"):
        prepare(database, database, "south")
