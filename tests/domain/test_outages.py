"""An outage of the database is logged once when it begins and once when it ends, with one reason for all refusals."""

from __future__ import annotations

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from structlog.testing import capture_logs

from domain import outages
from domain.eventlog.connection.timeouts import note_outage
from domain.outages import AWAY, FULL, Outages


def test_outage_is_logged_when_it_begins_and_when_it_ends() -> None:
    with capture_logs() as logged:
        known = Outages()
        for _ in range(5):
            known.begin("connection\n  refused")
            assert known.refuse(10).detail == AWAY
        for _ in range(5):
            known.note_answer()
    assert known.current is None
    began, ended = logged
    assert (began["event"], began["reason"]) == ("the database is away", "connection refused")
    assert (ended["event"], ended["refused"]) == ("the database is back", 50)
    assert ended["seconds"] >= 0


def test_full_disk_is_the_reason_until_no_error_names_it_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with capture_logs() as logged:
        known = Outages()
        known.disk_is_full("0 bytes are left")
        known.disk_is_full("0 bytes are left")
        known.begin("connection refused")
        known.note_answer()
        assert known.refuse(3).detail == FULL
        monkeypatch.setattr(outages, "monotonic", lambda: known._full_until + 1)
        assert known.current is None
    assert [line["event"] for line in logged] == [
        "the disk of the database is full",
        "the database is away",
        "the database is back",
        "the disk of the database has room again",
    ]
    assert logged[-1]["refused"] == 3


CONNECTION_LOST = psycopg.OperationalError("server closed the connection unexpectedly")
NO_SPACE = psycopg.errors.lookup("58030")("could not write: No space left on device")


@pytest.mark.parametrize(
    ("error", "current"),
    [
        (CONNECTION_LOST, AWAY),
        (psycopg.errors.AdminShutdown(), AWAY),
        (psycopg.errors.CannotConnectNow(), AWAY),
        (psycopg.errors.TooManyConnections(), AWAY),
        (psycopg.InterfaceError("the connection is closed"), AWAY),
        (psycopg.errors.DiskFull(), FULL),
        (NO_SPACE, FULL),
        (psycopg.errors.QueryCanceled(), None),
        (psycopg.errors.LockNotAvailable(), None),
        (psycopg.errors.ReadOnlySqlTransaction(), None),
        (PoolTimeout(), None),
        (TimeoutError(), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_errors_of_an_unavailable_database_are_an_outage(
    error: Exception, current: str | None
) -> None:
    known = Outages()
    assert note_outage(error, known).detail == (current or AWAY)
    assert (known.current.detail if known.current else None) == current
