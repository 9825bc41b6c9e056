"""The database role of the server owns nothing, and can change neither events nor the triggers that protect them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, RestrictViolation
from psycopg.sql import SQL, Identifier

from api.database import SERVING
from api.embedded_postgres.server import EmbeddedPostgres
from domain.eventlog.migrations import migrate_log
from domain.eventlog.sessions import session_options
from domain.eventlog.setup.roles import GRANTED, grant
from tests.support.service_process import AUTHORIZED, Service, serving

FORBIDDEN = {
    "an update": "UPDATE events SET topic = 'other'",
    "a deletion": "DELETE FROM events",
    "a truncation": "TRUNCATE events",
    "a disabled trigger": "ALTER TABLE events DISABLE TRIGGER append_only",
    "a dropped trigger": "DROP TRIGGER append_only ON events",
    "a dropped table": "DROP TABLE events",
    "another function": "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE sql AS ''",
    "a role of the owner's": "SET ROLE app",
    "a replication role": "SET session_replication_role = replica",
    "say that the log has moved": "INSERT INTO log_move VALUES (true, 'x', 'moved', 'host=elsewhere')",
    "say that events are archived": "INSERT INTO event_archives VALUES (1, 1, 'f', 1, 'd', '', now(), now())",
    "say which are": "INSERT INTO event_archive_streams VALUES ('user/acme', 1, 1, '', NULL, 1)",
    "forget which are": "DELETE FROM event_archive_streams",
    "another function for events": "CREATE OR REPLACE FUNCTION refuse_change_of_events() RETURNS trigger LANGUAGE sql AS ''",
    "open the fence of a log that moves": "UPDATE log_move SET fenced_until = NULL",
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving() as service:
        user = {"$id": "acme", "name": "Acme", "kind": "organization"}
        httpx.post(f"{service.url}/api/users", json=user, headers=AUTHORIZED).raise_for_status()
        yield service


@contextmanager
def connect_as_server(service: Service) -> Iterator[psycopg.Connection]:
    postgres = EmbeddedPostgres(service.data / "postgres")
    conninfo = postgres.conninfo(user=SERVING)
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        yield connection


def test_every_session_of_the_server_is_of_the_serving_role(service: Service) -> None:
    with psycopg.connect(service.conninfo) as connection:
        users = connection.execute(
            "SELECT DISTINCT usename FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            " AND usename IS NOT NULL"  # a session that is being opened has no user yet
        ).fetchall()
    assert users == [(SERVING,)]


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_serving_role_cannot_change_events(service: Service, kind: str) -> None:
    with connect_as_server(service) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(FORBIDDEN[kind].encode())


def test_serving_role_removes_days_of_the_access_log_only_by_its_function(
    service: Service,
) -> None:
    httpx.get(f"{service.url}/api/executions", headers=AUTHORIZED).raise_for_status()
    today = Identifier(f"access_log_{datetime.now(UTC):%Y%m%d}")
    refused = {
        "SELECT retire_access_day(current_date)": RestrictViolation,
        "DELETE FROM {}": RestrictViolation,
        "DROP TABLE {}": InsufficientPrivilege,
        "ALTER TABLE {} DISABLE TRIGGER append_only": InsufficientPrivilege,
        "TRUNCATE access_log": InsufficientPrivilege,
    }
    for statement, error in refused.items():
        with connect_as_server(service) as connection, pytest.raises(error):
            connection.execute(SQL(statement).format(today))
    with connect_as_server(service) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute("SELECT retire_access_day(current_date + 7)")
        name = f"access_log_{datetime.now(UTC) + timedelta(days=7):%Y%m%d}"
        assert connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() == (None,)
        connection.rollback()


def test_serving_role_removes_only_archived_events(service: Service) -> None:
    call = """SELECT take_out_events(1, 0, 'f', 1, 'd', '', ARRAY['user/acme'], ARRAY[1::bigint], ARRAY[1::bigint],
        ARRAY[''::bytea], ARRAY['{}'], ARRAY[1::bigint])"""
    with (
        connect_as_server(service) as connection,
        pytest.raises(RestrictViolation, match="were archived in f"),
    ):
        connection.execute(call)


def test_rebuilt_view_is_served(service: Service) -> None:
    assert service.run("rebuild", "catalog").returncode == 0
    listed = httpx.get(f"{service.url}/api/users", headers=AUTHORIZED)
    assert [user["$id"] for user in listed.raise_for_status().json()["data"]] == ["acme"]
    assert service.verify().returncode == 0


def test_server_with_an_external_database_serves_by_the_role_of_its_url(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as owner:
        name = f"{owner.info.dbname}_serving"
        owner.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'sesame'").format(Identifier(name)))
        try:
            url = psycopg.conninfo.make_conninfo(database, user=name, password="sesame")
            with serving(url, EXECUTIONS_DATABASE_OWNER_URL=database) as service:
                user = {"$id": "acme", "name": "Acme", "kind": "organization"}
                answer = httpx.post(f"{service.url}/api/users", json=user, headers=AUTHORIZED)
                assert answer.status_code == 201
            with (
                psycopg.connect(url, options=session_options("executions")) as role,
                pytest.raises(InsufficientPrivilege),
            ):
                role.execute("DELETE FROM events")
        finally:
            owner.execute(SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(name)))


def test_grants_are_made_again_after_a_restore_without_them(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as owner:
        role = f"{owner.info.dbname}_role"
        owner.execute(SQL("CREATE ROLE {}").format(Identifier(role)))
        try:
            migrate_log(database, "executions")
            grant(database, "executions", role)
            assert owner.execute(GRANTED, (role, "executions")).fetchone() == (True,)
            events = SQL("GRANT UPDATE ON executions.events TO {}").format(Identifier(role))
            owner.execute(events)
            assert owner.execute(GRANTED, (role, "executions")).fetchone() == (False,)
            grant(database, "executions", role)
            assert owner.execute(GRANTED, (role, "executions")).fetchone() == (True,)
        finally:
            owner.execute(SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(role)))
