"""A commit that no standby has is not acknowledged, whatever the primary shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection

from api.embedded_postgres.server import EmbeddedPostgres
from domain.errors import OutcomeUnknown, Overloaded
from domain.eventlog import store as store_module
from domain.eventlog.connection import connections
from domain.eventlog.connection.commit import Commit, find_written
from domain.eventlog.migrations import migrate_log
from domain.eventlog.sessions import session_options
from tests.support.databases import FAST
from tests.support.sample_aggregate import Begin, Raise, clock, message, running_bus, store
from tests.support.standby import pair

WAITING = {name: value for name, value in FAST.items() if name != "synchronous_commit"}

pytestmark = pytest.mark.anyio


@contextmanager
def require_missing_standby(conninfo: str) -> Iterator[None]:
    """Commits wait for a standby that does not exist."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'elsewhere'")
        connection.execute("SELECT pg_reload_conf(), pg_sleep(0.2)")
        try:
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf(), pg_sleep(0.2)")


def count_waiting(conninfo: str) -> int:
    """The number of connections that still wait for a standby."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        ).fetchone()
    assert found is not None
    return int(found[0])


async def test_commit_that_waits_for_a_missing_standby_is_not_acknowledged(
    postgres_root: Path, postgres_bin: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, limit in (
        (connections, "WRITE_TIMEOUT"),
        (connections, "LOOKUP_TIMEOUT"),
    ):
        monkeypatch.setattr(module, limit, 0.5)
    monkeypatch.setattr(store_module, "OUTCOME_TIMEOUT", 2.0)  # so that it asks several times
    with EmbeddedPostgres(postgres_root, settings=WAITING, bin_dir=postgres_bin) as server:
        migrate_log(server.conninfo(), "executions")
        log = store(server.conninfo())
        async with running_bus(log) as bus:
            await bus.send(message("a", Begin()))
            with require_missing_standby(server.conninfo()):
                with pytest.raises(OutcomeUnknown):
                    await bus.send(message("a", Raise()))
                assert [row.position for row in await log.read(0, 10)] == [1, 2]  # it is shown
                assert count_waiting(server.conninfo()) <= 1
            assert (await bus.send(message("a", Raise()))).versioned.version == 3


async def test_former_primary_that_became_a_standby_does_not_report_whether_a_commit_was_recorded(
    postgres_bin: Path | None,
) -> None:
    with pair(postgres_bin) as servers:
        migrate_log(servers.primary.conninfo(), "executions")
        log = store(servers.primary.conninfo())
        async with running_bus(log) as bus:
            await bus.send(message("a", Begin()))
            [event] = await log.read(0, 10)
        servers.wait_until_equal()
        former = await AsyncConnection.connect(
            servers.standby.conninfo(), autocommit=True, options=session_options("executions")
        )
        async with former:
            for shown in (event, event._replace(version=2)):
                with pytest.raises(Overloaded):
                    await find_written(former, Commit([shown], clock()).check)
