"""Erasure of an execution, and commands on its log lines, decided on states alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.errors import Erased
from domain.execution.commands import RetryExecution
from domain.execution.commands.erase import EraseExecution
from domain.execution.commands.log import CLOCKS_DIFFER, AppendLogLines, LogLine
from domain.execution.events.lifecycle import ExecutionCancelled, ExecutionErased
from domain.execution.types import Status
from domain.model import LogEntry
from tests.support.given import NOON, SECOND, given
from tests.support.histories import HISTORIES, RUNNING

ASKED = ExecutionErased(reason="asked for")


def test_erasure_cancels_an_execution_that_has_not_ended() -> None:
    erase = EraseExecution(reason="asked for")
    given(*RUNNING).when(erase).then(ExecutionCancelled(), ASKED)
    given(*HISTORIES[Status.COMPLETED]).when(erase).then(ASKED)


def test_erasure_is_repeated_only_for_the_same_reason() -> None:
    erased = given(*HISTORIES[Status.COMPLETED], ASKED)
    erased.when(EraseExecution(reason="asked for")).then_nothing()
    erased.when(EraseExecution(reason="another")).refused(Erased)


def test_erased_execution_is_not_retried() -> None:
    given(*HISTORIES[Status.FAILED], ASKED).when(RetryExecution()).refused(Erased)


def line(**more: object) -> LogLine:
    return LogLine.model_validate({"level": "info", "message": "Sent", **more})


@pytest.mark.parametrize(
    ("said", "when"),
    [
        ({"timestamp": NOON, "occurred_at": NOON - SECOND}, NOON),
        ({"occurred_at": NOON - SECOND}, NOON - SECOND),
        ({}, NOON + len(RUNNING) * SECOND),
    ],
)
def test_log_line_has_the_time_that_it_gives(said: dict[str, object], when: object) -> None:
    (kept,) = given(*RUNNING).when(AppendLogLines(lines=(line(**said),))).events
    assert kept == LogEntry(when, "info", None, {"message": "Sent", "context": None})  # type: ignore[arg-type]


def test_log_line_of_the_future_is_refused_with_its_index_among_several() -> None:
    running = given(*RUNNING)
    early = line(timestamp=running.now + CLOCKS_DIFFER + timedelta(seconds=1))
    running.when(AppendLogLines(lines=(early,))).refused_field("timestamp")
    running.when(AppendLogLines(lines=(line(), early))).refused_field("1.timestamp")
