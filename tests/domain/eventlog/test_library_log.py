"""What our persistence module promises beyond the library's own test cases."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import Mock
from uuid import UUID

import psycopg
import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    InfrastructureFactory,
    IntegrityError,
    Notification,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.system import ProcessApplication, SingleThreadedRunner, System
from eventsourcing.utils import Environment
from psycopg.errors import ReadOnlySqlTransaction

from domain import registry
from domain.eventlog import library
from domain.eventlog.library import Factory
from domain.eventlog.library import subscription as library_subscription
from domain.eventlog.library.recorders import (
    LogProcessRecorder,
    LogRecorder,
    LogTrackingRecorder,
)
from domain.eventlog.library.subscription import LogSubscription
from domain.eventlog.sessions import session_options
from projections.engine.migrations import migrate_projections
from projections.registry import all_projections

POSITIONS = "SELECT array_agg(notification_id ORDER BY notification_id) FROM events"
UNHEARD = """WITH moved AS (UPDATE head SET position = position + 1 RETURNING position, at)
    INSERT INTO events SELECT position, 1, at, 'tally/unheard', 'tally.raised', '{"by":"x"}', '{}'
    FROM moved"""
DEAFEN = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND query ILIKE 'listen%'"""


class Account(Aggregate):
    def __init__(self) -> None:
        self.balance = 0

    @event("Credited")
    def credit(self, amount: int) -> None:
        self.balance += amount


class Accounts(Application[UUID]):
    def open(self, *amounts: int) -> UUID:
        account = Account()
        for amount in amounts:
            account.credit(amount)
        self.save(account)
        return account.id


class Audits(ProcessApplication[UUID]):
    """Creates an account for each credit in another application."""

    def policy(self, domain_event: Any, processing_event: Any) -> None:
        if isinstance(domain_event, Account.Credited):  # type: ignore[attr-defined]  # the decorator makes it
            processing_event.collect_events(Account())


def variables(database: str, **more: str) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": library.__name__, "DATABASE_URL": database, **more}


@contextmanager
def factory(database: str, name: str = "tallies", **more: str) -> Iterator[Factory]:
    made = InfrastructureFactory.construct(Environment(name, variables(database, **more)))
    try:
        yield cast(Factory, made)
    finally:
        made.close()


@pytest.fixture
def recorder(database: str) -> Iterator[LogRecorder]:
    with factory(database) as made:
        yield cast(LogRecorder, made.application_recorder())


def raised_event(version: int, stream: str = "tally/a") -> StoredEvent:
    return StoredEvent(stream, version, "tally.raised", b"{}")


def column(database: str, query: str, schema: str = "tallies") -> Any:
    with psycopg.connect(database, options=session_options(schema)) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


class Reading(threading.Thread):
    """Iterates over a subscription until it has got this many notifications, or is stopped."""

    def __init__(self, subscription: LogSubscription, count: int) -> None:
        super().__init__(daemon=True)
        self.subscription = subscription
        self.count = count
        self.read: list[Notification] = []
        self.waiting = threading.Event()
        self.start()

    def run(self) -> None:
        for notification in self.subscription:
            self.read.append(notification)
            if len(self.read) == self.count:
                return

    def ids(self) -> list[int]:
        self.join(20)
        assert not self.is_alive(), "the subscription waits"
        return [notification.id for notification in self.read]


def test_subscription_gets_events_committed_between_listen_and_first_read(
    recorder: LogRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_subscription, "POLL", 3600)
    select, between = recorder.select_notifications, [raised_event(1)]

    def slow(*given: Any, **named: Any) -> Any:
        page = select(*given, **named)
        if between:  # it has read nothing, and is not waiting yet
            recorder.insert_events([between.pop()])
        return page

    monkeypatch.setattr(recorder, "select_notifications", slow)
    with recorder.subscribe(0) as subscription:
        assert Reading(subscription, 1).ids() == [1]


def test_subscription_finds_events_without_a_notification(
    recorder: LogRecorder, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_subscription, "POLL", 0.2)
    recorder.insert_events([raised_event(1)])
    with recorder.subscribe(0) as subscription:
        assert next(subscription).id == 1
        reading = Reading(subscription, 1)
        with psycopg.connect(database, options=session_options("tallies")) as other:
            other.execute(UNHEARD)
        assert reading.ids() == [2]


def test_subscription_to_a_standby_connects_once_and_polls(
    recorder: LogRecorder, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_subscription, "POLL", 0.5)
    connect, made = psycopg.connect, list[psycopg.Connection[Any]]()

    def to_standby(*given: Any, **named: Any) -> Any:
        made.append(connection := connect(*given, **named))
        refusal = ReadOnlySqlTransaction("cannot execute LISTEN during recovery")
        monkeypatch.setattr(connection, "execute", Mock(side_effect=refusal))
        return connection

    with monkeypatch.context() as standby, recorder.subscribe(0) as subscription:
        standby.setattr(psycopg, "connect", to_standby)
        reading = Reading(subscription, 1)
        time.sleep(1)
        recorder.insert_events([raised_event(1)])
        assert reading.ids() == [1]
    assert [connection.closed for connection in made] == [True]


def test_subscription_survives_lost_connections(recorder: LogRecorder, database: str) -> None:
    recorder.insert_events([raised_event(1)])
    with recorder.subscribe(0) as subscription:
        assert next(subscription).id == 1
        reading = Reading(subscription, 2)
        while not (ended := column(database, DEAFEN)):
            pass
        assert ended == 1
        recorder.insert_events([raised_event(2)])
        recorder.insert_events([raised_event(3)])
        assert reading.ids() == [2, 3]


def test_subscription_by_topic_continues_from_the_end_of_the_log(recorder: LogRecorder) -> None:
    recorder.insert_events(
        [raised_event(1), StoredEvent("tally/a", 2, "tally.noted", b"{}"), raised_event(3)]
    )
    with recorder.subscribe(0, topics=["tally.noted"]) as subscription:
        assert next(subscription).id == 2
        assert subscription._after == 3


def test_subscription_is_stopped_from_another_thread(recorder: LogRecorder) -> None:
    with recorder.subscribe(0) as subscription:
        reading = Reading(subscription, 1)
        subscription.stop()
        assert reading.ids() == []


def test_events_and_tracking_are_recorded_in_one_transaction(database: str) -> None:
    with factory(database) as made:
        recorder = cast(LogProcessRecorder, made.process_recorder())
        assert recorder.insert_events([raised_event(1)], tracking=Tracking("up", 7)) == [1]
        with pytest.raises(IntegrityError):
            recorder.insert_events([raised_event(2)], tracking=Tracking("up", 7))
        with pytest.raises(IntegrityError):
            recorder.insert_events([raised_event(1)], tracking=Tracking("up", 8))
        assert recorder.max_tracking_id("up") == 7
        assert recorder.insert_events([raised_event(2)], tracking=Tracking("up", 8)) == [2]
    assert column(database, POSITIONS) == [1, 2]


def test_two_consumers_of_one_application_have_separate_positions(database: str) -> None:
    one = {"POSTGRES_SCHEMA": "shared"}
    with factory(database, "Totals", **one) as first, factory(database, "Mails", **one) as second:
        totals, mails = first.tracking_recorder(), second.tracking_recorder()
        assert type(totals) is LogTrackingRecorder
        totals.insert_tracking(Tracking("accounts", 9))
        assert mails.max_tracking_id("accounts") is None
        mails.insert_tracking(Tracking("accounts", 3))
        assert totals.max_tracking_id("accounts") == 9


def test_application_of_a_system_has_its_own_log(database: str) -> None:
    system = System(pipes=[[Accounts, Audits]])
    with SingleThreadedRunner[UUID](system, env=variables(database)) as runner:
        runner.get(Accounts).open(3, 4)
    assert column(database, POSITIONS, "accounts") == [1, 2, 3]
    assert column(database, POSITIONS, "audits") == [1, 2]
    assert column(database, "SELECT consumer FROM trackings", "audits") == "audits"


def test_snapshots_are_stored_in_their_own_table(database: str) -> None:
    with Accounts(variables(database, IS_SNAPSHOTTING_ENABLED="y")) as app:
        account = app.open(3, 4)
        app.take_snapshot(account)
        assert app.repository.get(account).balance == 7
        assert app.snapshots is not None
        assert len(list(app.snapshots.get(account))) == 1
    assert column(database, "SELECT count(*) FROM snapshots", "accounts") == 0


def test_application_cannot_append_to_the_log_of_a_service(database: str) -> None:
    migrate_projections(database, "executions", all_projections(registry.codec()))
    with Accounts(variables(database, POSTGRES_SCHEMA="executions")) as app:
        with pytest.raises(ProgrammingError, match="schema executions is the log of a service"):
            app.open(3)
        with pytest.raises(ProgrammingError, match="POSTGRES_SCHEMA"):
            app.open(3)
    assert column(database, "SELECT position FROM head", "executions") == 0


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("POSTGRES_ENABLE_DB_FUNCTIONS", "y", "without the lock"),
        ("SINGLE_ROW_TRACKING", "no", "one row"),
        ("POSTGRES_SCHEMA", "My-Log", "My-Log.*cannot be the schema"),
        ("POSTGRES_SCHEMA", "x" * 49, "at most 48"),
    ],
)
def test_unsupported_library_variable_is_refused(
    database: str, variable: str, value: str, reason: str
) -> None:
    with pytest.raises(OSError, match=reason):
        Accounts(variables(database, **{variable: value}))


def test_no_table_is_created_if_that_is_forbidden(database: str) -> None:
    with factory(database, CREATE_TABLE="no") as made:
        made.application_recorder()
    assert column(database, "SELECT to_regclass('tallies.events') IS NULL")
