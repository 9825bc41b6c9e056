"""Every command in every status, compared with the documented table of transitions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.errors import IllegalTransition
from domain.execution.commands import (
    COMMANDS,
    AutoCheckpoint,
    CancelExecution,
    CompleteExecution,
    CompleteStep,
    DeclareSteps,
    FailExecution,
    FailStep,
    HeartbeatExecution,
    PauseExecution,
    RecordUsage,
    ResumeExecution,
    RetryExecution,
    SaveCheckpoint,
    SkipStep,
    StartExecution,
    StartRetry,
    StartStep,
    TimeOutExecution,
    UpdateExecution,
    UpdateProgress,
)
from domain.execution.events.steps import StepStarted
from domain.execution.state import Execution
from domain.execution.transitions import CLIENT_MOVES
from domain.execution.types import Status, StepPlan
from domain.model import Command
from tests.support.given import Given, given
from tests.support.histories import HISTORIES

TABLE = """
| command                 | queued    | starting     | running      | paused    | completed | failed    | cancelled | retry     |
| start                   | running   | running      | =            |           |           |           |           | running   |
| pause                   |           |              | paused       | =         |           |           |           |           |
| resume                  | running?  |              | =            | running   |           |           |           |           |
| complete                |           |              | completed    |           | =         |           |           |           |
| fail                    |           | failed/retry | failed/retry | failed    |           | =         |           | failed    |
| cancel                  | cancelled | cancelled    | cancelled    | cancelled |           | cancelled | =         | cancelled |
| retry                   |           |              |              |           |           | retry     |           | running   |
| updateProgress          |           | ok           | ok           |           |           |           |           |           |
| startStep               |           | ok           | ok           |           |           |           |           |           |
| completeStep            |           | ok           | ok           | ok        |           |           |           |           |
| failStep                |           | ok           | ok           | ok        |           |           |           |           |
| skipStep                |           | ok           | ok           | ok        |           |           |           |           |
| heartbeat               |           | ok           | ok           | ok        |           |           |           |           |
| checkpoint              |           |              | ok           | ok        |           |           |           |           |
| declareSteps            | ok        | ok           | ok           | ok        |           |           |           | ok        |
| log                     | ok        | ok           | ok           | ok        | ok        | ok        | ok        | ok        |
| recordUsage             | ok        | ok           | ok           | ok        | ok        | ok        | ok        | ok        |
| update                  | ok        | ok           | ok           | ok        | ok        | ok        | ok        | ok        |
| update of the rest      | ok        | ok           | ok           | ok        |           | ok        |           | ok        |
| timeOut                 |           | failed/retry | failed/retry |           |           |           |           |           |
| startRetry              |           |              |              |           |           |           |           | running   |
| autoCheckpoint          |           |              | ok           |           |           |           |           |           |
"""

# As the histories end: an equal payload repeats the last command.
EQUAL: dict[str, Command[Execution]] = {
    "start": StartExecution(),
    "pause": PauseExecution(reason="lunch"),
    "resume": ResumeExecution(),
    "complete": CompleteExecution(success=True, output={"sent": 2}, summary="Sent two"),
    "fail": FailExecution(code="SMTP", message="No answer", recoverable=True, retry_count=7),
    "cancel": CancelExecution(reason="changed my mind"),
    "retry": RetryExecution(),
    "updateProgress": UpdateProgress(progress=5),
    "startStep": StartStep(step="new"),
    "completeStep": CompleteStep(step="open"),
    "failStep": FailStep(step="open", code="X", message="x"),
    "skipStep": SkipStep(step="open"),
    "heartbeat": HeartbeatExecution(),
    "checkpoint": SaveCheckpoint(state={}),
    "declareSteps": DeclareSteps(steps=(StepPlan(id="a", name="A"),)),
    "recordUsage": RecordUsage(tokens_used=1),
    "update": UpdateExecution(tags=("new",), metadata={"new": 1}),
    "update of the rest": UpdateExecution(timeout=timedelta(minutes=5)),
    "timeOut": TimeOutExecution(),
    "startRetry": StartRetry(),
    "autoCheckpoint": AutoCheckpoint(),
}
DIFFERENT: dict[str, Command[Execution]] = {
    "pause": PauseExecution(reason="dinner"),
    "resume": ResumeExecution(checkpoint_id="cp-9"),
    "complete": CompleteExecution(success=False, output={"sent": 2}, summary="Sent two"),
    "fail": FailExecution(code="SMTP", message="Another", recoverable=True),
    "cancel": CancelExecution(reason="no reason"),
}
STEP_WORDS = {"completeStep", "failStep", "skipStep"}


def cells() -> list[tuple[str, Status, str]]:
    heading, *rows = ([c.strip() for c in row.split("|")[1:-1]] for row in TABLE.split("\n")[1:-1])
    return [
        (row[0], Status(status), cell)
        for row in rows
        for status, cell in zip(heading[1:], row[1:], strict=True)
    ]


def is_refused_here(cell: str) -> bool:
    """Whether a command is refused with the histories of this test: no worker was lost in them."""
    return cell == "" or cell.endswith("?")


DECIDED = [cell for cell in cells() if cell[0] != "log"]


def history_of(command: str, status: Status) -> Given:
    """The history of a status; with an open step if the command needs one."""
    events = HISTORIES[status]
    if command in STEP_WORDS:
        events = (events[0], StepStarted(step="open"), *events[1:])
    return given(*events).after(timedelta(hours=2))


@pytest.mark.parametrize(("command", "status", "cell"), DECIDED)
def test_command_follows_its_cell_in_the_table(command: str, status: Status, cell: str) -> None:
    outcome = history_of(command, status).when(EQUAL[command])
    if is_refused_here(cell):
        allowed = [
            word
            for word, at, c in cells()
            if at is status and c != "=" and not is_refused_here(c) and word in KNOWN
        ]
        if command == "update of the rest":  # an update that was refused
            allowed.remove("update")
        outcome.refused(IllegalTransition, status=status, allowedCommands=allowed)
        return
    after = outcome.then(*outcome.events)
    if cell == "=":
        assert outcome.events == ()
    else:
        assert outcome.events
        assert after.state.status == {"ok": status}.get(cell, cell.split("/", maxsplit=1)[0])


KNOWN = {*COMMANDS, "log"}


@pytest.mark.parametrize(
    ("command", "status"), [(c, at) for c, at, cell in cells() if cell == "=" and c in DIFFERENT]
)
def test_repeat_with_another_payload_is_refused(command: str, status: Status) -> None:
    outcome = history_of(command, status).when(DIFFERENT[command])
    outcome.refused(IllegalTransition, status=status)
    said = f"`{command}` was done already, with other content: the execution is {status}."
    assert str(outcome.error) == said


def test_table_of_transitions_equals_the_documented_one() -> None:
    ours: dict[str, dict[Any, str]] = {}
    for command, status, cell in cells():
        if command in KNOWN:
            ours.setdefault(command, {})[status] = cell or "."
    assert ours == CLIENT_MOVES


def test_every_command_has_a_row() -> None:
    assert {command for command, _, _ in cells()} >= COMMANDS.keys() - {"create"}
