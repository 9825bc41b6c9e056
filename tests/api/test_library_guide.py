"""The programs of docs/library.md, and reads of the log of a running service by the library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from eventsourcing.application import ProcessingEvent
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import NotSupportedError
from eventsourcing.projection import EventSourcedProjection, EventSourcedProjectionRunner

from domain.eventlog import library
from domain.eventlog.sessions import session_options
from domain.execution.events.lifecycle import ExecutionCompleted
from domain.execution.events.steps import StepCompleted
from domain.model import Recorded
from domain.sealing import Ciphertext
from domain.service_log import ServiceLog, UnknownEvent
from tests.support.api_client import ERROR, RESULT, Catalog, Executions

GUIDE = Path(__file__).parent.parent.parent / "docs" / "library.md"
NEWER = """WITH moved AS (UPDATE head SET position = position + 1 RETURNING position, at)
    INSERT INTO events
    SELECT position, 1, at, 'device/d1', 'device.added', '{"by":"newer"}', '{"a":1}' FROM moved
    RETURNING notification_id"""


@pytest.fixture(autouse=True)
def _environment(module_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", module_database)
    monkeypatch.setenv(
        "POSTGRES_SCHEMA", "ours"
    )  # the tables of the program of the guide, not those of the service


@pytest.fixture
def log(module_database: str) -> Iterator[ServiceLog]:
    with ServiceLog() as opened:
        yield opened


def history(log: ServiceLog, execution: str) -> list[Recorded]:
    stored = log.recorder.select_events(f"execution/{execution}")
    return [read(log, event) for event in stored]


def read(log: ServiceLog, event: Any) -> Recorded:
    recorded: Any = log.mapper.to_domain_event(event)
    assert isinstance(recorded, Recorded)
    return recorded


def test_programs_of_the_library_guide_run(executions: Executions, tmp_path: Path) -> None:
    executions.tell(executions.running(), "complete", **RESULT)
    last = executions.tell(executions.running(), "fail", **ERROR)["position"]
    snippets = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(snippets) == 3
    program = tmp_path / "guide.py"
    program.write_text("\n".join([f"LAST_POSITION = {last}", *snippets]))
    done = subprocess.run(
        [sys.executable, "-W", "error", program],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "{'execution.completed': 1, 'execution.failed': 1}" in done.stdout
    assert "(1, 'user/acme', 'user.created')" in done.stdout


def test_events_of_the_service_are_read_with_their_envelope_and_sealed(
    log: ServiceLog, completed_execution: str
) -> None:
    read = history(log, completed_execution)
    last = read[-1]
    assert isinstance(last.event, ExecutionCompleted)
    assert (last.by, last.version, last.stream) == (
        "admin",
        len(read),
        f"execution/{completed_execution}",
    )
    assert isinstance(last.event.result, Ciphertext)


def test_event_of_a_newer_program_is_read_as_unknown(
    log: ServiceLog, server: Any, api: httpx.Client, executions: Executions
) -> None:
    with psycopg.connect(server.conninfo, options=session_options("executions")) as connection:
        [(position,)] = connection.execute(NEWER).fetchall()
    [event] = log.recorder.select_notifications(position, 1)
    recorded = read(log, event)
    assert (recorded.by, recorded.position) == ("newer", position)
    assert isinstance(recorded.event, UnknownEvent)
    assert (recorded.event.topic, recorded.event.state) == ("device.added", b'{"a":1}')
    after = executions.create()["position"]
    shown = api.get("/executions", params={"minPosition": after})
    assert shown.is_success
    assert {view["parked"] for view in api.get("/readyz").json()["views"].values()} == {0}


def test_service_log_refuses_to_save_an_aggregate(log: ServiceLog, catalog: Catalog) -> None:
    class Note(Aggregate):
        pass

    head = log.recorder.max_notification_id()
    with pytest.raises(NotSupportedError, match="by its commands alone"):
        log.save(Note())  # type: ignore[arg-type]  # with another type of ids; refused in any case
    assert log.recorder.max_notification_id() == head


class Reviews(EventSourcedProjection[UUID]):
    """Creates a review at the end of each execution."""

    name = "reviews"
    topics = (ExecutionCompleted.type, StepCompleted.type)

    class Review(Aggregate):
        pass

    def policy(self, domain_event: Any, processing_event: ProcessingEvent[UUID]) -> None:
        if isinstance(domain_event.event, ExecutionCompleted):
            processing_event.collect_events(self.Review())


def test_event_sourced_projection_of_the_service_keeps_a_log_of_its_own(
    executions: Executions,
) -> None:
    position = executions.tell(executions.running(), "complete", **RESULT)["position"]
    with EventSourcedProjectionRunner(
        application_class=ServiceLog,
        projection_class=Reviews,
        env={"PERSISTENCE_MODULE": library.__name__},
    ) as runner:
        runner.wait(position, timeout=30)
        made = runner.projection.recorder.max_notification_id()
        assert made is not None
        later = executions.tell(executions.running(), "complete", **RESULT)["position"]
        runner.wait(later, timeout=30)
        assert runner.projection.recorder.max_notification_id() == made + 1
