"""Each rule about clusters finds its own problem, and nothing in a safe cluster."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import yaml  # type: ignore[import-untyped]  # it has no stubs
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from projections.diagnosis import cluster
from projections.diagnosis.cluster import (
    ConnectedStandby,
    InspectedCluster,
    Patroni,
    ServedDatabase,
    measure,
)
from projections.diagnosis.cluster_rules import findings
from tests.support.paths import ROOT

WELL = ServedDatabase(
    {
        "synchronous_commit": "on",
        "synchronous_standby_names": "ANY 1 (b,c)",
        "fsync": "on",
        "full_page_writes": "on",
        "wal_log_hints": "on",
        "data_checksums": "on",
        "max_slot_wal_keep_size": "4096",
        "archive_mode": "on",
    },
    [ConnectedStandby("b", "quorum"), ConnectedStandby("c", "quorum")],
    slots=2,
    standby=False,
    pooled=False,
)
GUIDE = ROOT / "docs" / "high-availability" / "patroni.yml"


def of_guide(**other: Any) -> Patroni:
    """A node as configured in the guide."""
    configuration = yaml.safe_load(GUIDE.read_text())["bootstrap"]["dcs"]
    return Patroni("4.1.5", configuration | other)


def test_cluster_of_the_guide_is_safe() -> None:
    assert findings(InspectedCluster(WELL, [of_guide()])) == []


def test_cluster_without_a_standby_acknowledges_nothing() -> None:
    for standbys, said in (
        (WELL.standbys[:1], "the next failure"),
        ((), "no command is acknowledged"),
    ):
        [found] = findings(InspectedCluster(WELL._replace(standbys=standbys), [of_guide()]))
        assert said in found.what


@pytest.mark.parametrize(
    ("name", "value", "severity", "said"),
    [
        ("synchronous_standby_names", "", "unsafe", "waits for no standby"),
        ("synchronous_standby_names", "b", "unavailable", "named standbys"),
        ("synchronous_commit", "local", "unsafe", "synchronous_commit is local"),
        ("synchronous_commit", "remote_write", "unsafe", "synchronous_commit is remote_write"),
        ("fsync", "off", "unsafe", "fsync is off"),
        ("max_slot_wal_keep_size", "-1", "unavailable", "fills the disk"),
        ("archive_mode", "off", "unsafe", "in no backup"),
    ],
)
def test_setting_that_endangers_the_log_is_found(
    name: str, value: str, severity: str, said: str
) -> None:
    [found] = findings(InspectedCluster(WELL._replace(settings={**WELL.settings, name: value})))
    assert found.severity == severity
    assert said in found.what


@pytest.mark.parametrize(
    ("other", "severity", "said"),
    [
        ({"standbys": [ConnectedStandby("b", "quorum")]}, "unavailable", "1 standby"),
        ({"standbys": [ConnectedStandby("b", "async")]}, "unavailable", "no standby"),
        ({"monitors": False, "standbys": []}, "unavailable", "may see neither standbys"),
        ({"not_archived": True}, "unsafe", "waited for its archive"),
        ({"pooled": True}, "unsafe", "pooler"),
        ({"standby": True}, "unavailable", "leads to a standby"),
        ({"hosts": 3, "read_write": False}, "unavailable", "without target_session_attrs"),
        ({"hosts": 3}, "unavailable", "hangs is found again"),
    ],
)
def test_state_that_endangers_the_log_is_found(
    other: dict[str, Any], severity: str, said: str
) -> None:
    [found] = findings(InspectedCluster(WELL._replace(**other)))
    assert found.severity == severity
    assert said in found.what


@pytest.mark.parametrize(
    ("node", "severity", "said"),
    [
        (of_guide()._replace(version="3.0.2"), "unsafe", "Patroni is 3.0.2"),
        (of_guide(synchronous_mode=False), "unsafe", "synchronous_mode is off"),
        (of_guide(synchronous_mode=True), "unavailable", "synchronous_mode is True"),
        (of_guide(synchronous_mode_strict=False), "unsafe", "strict is off"),
        (of_guide(maximum_lag_on_failover=2**20), "unavailable", "on_failover is 1048576"),
        (of_guide(ttl="60"), "unavailable", "ttl is 60"),
        (of_guide(primary_start_timeout=300), "unavailable", "primary_start_timeout is 300"),
        (of_guide(pause=True), "unavailable", "paused"),
        (of_guide()._replace(watchdog_failed=True), "unsafe", "watchdog"),
    ],
)
def test_configuration_of_patroni_that_endangers_the_log_is_found(
    node: Patroni, severity: str, said: str
) -> None:
    [found] = findings(InspectedCluster(WELL, [node, node]))
    assert found.severity == severity
    assert said in found.what


def test_single_database_is_measured_correctly(database: str) -> None:
    measured = measure(database, "executions")
    assert (measured.standby, measured.pooled, measured.standbys) == (False, False, [])
    assert any("waits for no standby" in each.what for each in findings(InspectedCluster(measured)))


def test_role_sees_the_cluster_once_it_is_granted(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as owner:
        role = Identifier(name := f"{owner.info.dbname}_checking")
        owner.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'sesame'").format(role))
        url = make_conninfo(database, user=name, password="sesame")
        try:
            assert not measure(url, "executions").monitors
            owner.execute(SQL("GRANT pg_monitor TO {}").format(role))
            assert measure(url, "executions").monitors
        finally:
            owner.execute(SQL("DROP ROLE {}").format(role))


def test_connection_that_loses_its_search_path_is_reported_as_pooled(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a PgBouncer that ignores the options of a session."""
    monkeypatch.setattr(cluster, "connect", lambda conninfo, _: psycopg.connect(conninfo))
    assert measure(database, "executions").pooled
