"""The log as a persistence module of `eventsourcing`: the library's own test cases run on our tables.

Left out, as they do not apply: its cases for tagged decisions (`dcb`), which use another store with tables of its own;
those for transcoders, mappers and plain objects, which test the library's own code; and its tests of connections and
statements of PostgreSQL, which test its own recorders.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, cast
from uuid import uuid4

import pytest
from eventsourcing import cryptography
from eventsourcing.persistence import InfrastructureFactory, Tracking, TrackingRecorder
from eventsourcing.utils import Environment
from psycopg.rows import tuple_row
from psycopg.sql import SQL

from domain.eventlog import library
from domain.eventlog.library import Factory, log_recorder
from domain.eventlog.library.recorders import (
    LogProcessRecorder,
    LogRecorder,
    LogTrackingRecorder,
    SnapshotRecorder,
)


class _Decision(SimpleNamespace):
    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)


# The library's cases use its older cipher and the messages of its other store: packages that we do
# not need.
sys.modules.setdefault("eventsourcing.cipher", cryptography)
sys.modules.setdefault(
    "eventsourcing.dcb.msgpack",
    cast(
        ModuleType,
        SimpleNamespace(
            Decision=_Decision, InitialDecision=type("InitialDecision", (_Decision,), {})
        ),
    ),
)

from eventsourcing.tests import application as applications  # noqa: E402
from eventsourcing.tests import persistence as cases  # noqa: E402
from eventsourcing.tests import projection as projections  # noqa: E402

MODULE = {"PERSISTENCE_MODULE": library.__name__}


class OnTheLog:
    """Each case has a database of its own; the objects that it makes are closed after it."""

    database: str

    @pytest.fixture(autouse=True)
    def _given(self, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.database = database
        monkeypatch.setenv("DATABASE_URL", database)
        for name, value in MODULE.items():
            monkeypatch.setenv(name, value)
        self.factories: list[Factory] = []
        yield
        for factory in self.factories:
            factory.close()

    def made(self, name: str = "library") -> Factory:
        env = Environment(name, {**MODULE, "DATABASE_URL": self.database})
        made = cast(Factory, InfrastructureFactory.construct(env))
        self.factories.append(made)
        return made

    def new_originator_id(self) -> str:
        return f"tally/{uuid4()}"


class TestApplicationRecorder(OnTheLog, cases.ApplicationRecorderTestCase[LogRecorder]):
    def create_recorder(self) -> LogRecorder:
        return cast(LogRecorder, self.made().application_recorder())

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestOrder(OnTheLog, cases.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> LogRecorder:
        return cast(LogRecorder, self.made().application_recorder())


class TestSnapshotRecorder(OnTheLog, cases.AggregateRecorderTestCase):
    def create_recorder(self) -> SnapshotRecorder:
        return cast(SnapshotRecorder, self.made().aggregate_recorder("snapshots"))


class TestTrackingRecorder(OnTheLog, cases.TrackingRecorderTestCase):
    def create_recorder(self) -> LogTrackingRecorder:
        return cast(LogTrackingRecorder, self.made().tracking_recorder())


class TestProcessRecorder(OnTheLog, cases.ProcessRecorderTestCase):
    def create_recorder(self) -> LogProcessRecorder:
        return cast(LogProcessRecorder, self.made().process_recorder())


class OtherTrackingRecorder(LogTrackingRecorder):
    """A tracking recorder that a caller brings."""


class TestFactory(OnTheLog, cases.InfrastructureFactoryTestCase[Factory]):
    def setUp(self) -> None:
        self.env = Environment("TestCase", {**MODULE, "DATABASE_URL": self.database})
        super().setUp()

    def expected_factory_class(self) -> type[Factory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[LogRecorder]:
        return LogRecorder

    def expected_application_recorder_class(self) -> type[LogRecorder]:
        return LogRecorder

    def expected_tracking_recorder_class(self) -> type[LogTrackingRecorder]:
        return LogTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return OtherTrackingRecorder

    def expected_process_recorder_class(self) -> type[LogProcessRecorder]:
        return LogProcessRecorder


@pytest.mark.filterwarnings("default:.log. is deprecated:DeprecationWarning")
class TestApplication(OnTheLog, applications.ApplicationTestCase):
    """Caches, fast-forwarding, conflicts and the notification log of an application."""


class TestExampleApplication(OnTheLog, applications.ExampleApplicationTestCase):
    expected_factory_topic = f"{library.__name__}:Factory"


class Counters(LogTrackingRecorder, projections.EventCountersView):
    """A view with a table of its own, updated in one transaction with the tracking."""

    TABLE = SQL("CREATE TABLE IF NOT EXISTS counters (name text PRIMARY KEY, n bigint NOT NULL)")

    def __init__(self, *given: Any, **names: Any) -> None:
        super().__init__(*given, **names)
        self.sql_create_statements.append(self.TABLE.format())

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _count(self, name: str) -> int:
        with self.datastore.get_connection() as connection:
            cursor = connection.cursor(row_factory=tuple_row)
            cursor.execute("SELECT coalesce(sum(n), 0)::int FROM counters WHERE name = %s", (name,))
            [(count,)] = cursor.fetchall()
        return int(count)

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                """INSERT INTO counters VALUES (%s, 1)
                ON CONFLICT (name) DO UPDATE SET n = counters.n + 1""",
                (name,),
            )


class TestView(OnTheLog, projections.EventCountersViewTestCase):
    def construct_event_counters_view(self) -> Counters:
        return self.made("eventcounters").tracking_recorder(Counters)


class TestProjection(OnTheLog, projections.AggregateEventCountersProjectionTestCase):
    view_class = Counters


class TestEventSourcedProjection(OnTheLog, projections.EventSourcedProjectionTestCase):
    env: ClassVar[dict[str, str]] = {}


def test_recorder_of_an_existing_log_needs_no_environment_variables(database: str) -> None:
    recorder = log_recorder(database, "executions")
    try:
        assert recorder.max_notification_id() is None
    finally:
        recorder.datastore.close()
