"""Log lines: both times of a line, and notes of the server right after their event."""

from __future__ import annotations

import httpx
import pytest

from tests.support.api_client import ERROR, POLICY, RESULT, Executions, ok
from tests.support.running_server import Serving


def test_log_line_shows_its_timestamp_and_when_it_was_recorded(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/logs"
    early = {"level": "info", "message": "early", "timestamp": "2026-01-01T00:00:00.000Z"}
    ok(api.post(path, json=early))
    ok(api.post(path, json={"level": "info", "message": "now"}))
    received, now = ok(api.get(path))["data"]
    assert received["timestamp"] == "2026-01-01T00:00:00.000Z"
    assert received["recordedAt"] > received["timestamp"]
    assert now["timestamp"] == now["recordedAt"]
    assert ok(api.get(f"/executions/{running_execution}"))["logs"] == [received, now]


def test_lines_of_an_execution_from_the_first_day_of_the_calendar_are_read(
    api: httpx.Client, executions: Executions
) -> None:
    execution = executions.create(occurredAt="0001-01-01T00:00:01.000Z")["$id"]
    assert ok(api.get(f"/executions/{execution}/logs"))["data"] == []
    assert ok(api.get(f"/executions/{execution}"))["logs"] == []


def test_server_log_line_has_the_time_of_its_event(
    api: httpx.Client, executions: Executions
) -> None:
    execution = executions.running()
    event = executions.tell(execution, "complete", **RESULT)
    (line,) = ok(api.get(f"/executions/{execution}/logs"))["data"]
    assert line["recordedAt"] == line["timestamp"] == event["metadata"]["completedAt"]


@pytest.fixture
def collect_long(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view of the server's notes collects events for longer than a request takes."""
    monkeypatch.setitem(server.runner._gathering._gathers, "logs", 0.5)


@pytest.mark.usefixtures("collect_long")
@pytest.mark.parametrize(
    ("command", "body", "message"),
    [
        ("fail", ERROR, "SMTP: No answer from the mail server"),
        ("complete", RESULT, "Request completed"),
        ("cancel", {}, "Request cancelled"),
    ],
)
def test_server_log_line_of_an_end_is_in_the_next_page_of_lines(
    api: httpx.Client,
    executions: Executions,
    command: str,
    body: dict[str, object],
    message: str,
) -> None:
    execution = executions.running()
    executions.tell(execution, command, **body)
    lines = ok(api.get(f"/executions/{execution}/logs"))["data"]
    assert [line["message"] for line in lines] == [message]


def test_server_log_lines_of_a_retried_failure_are_in_the_next_page_of_lines(
    api: httpx.Client, executions: Executions
) -> None:
    execution = executions.running(retryPolicy=POLICY)
    executions.tell(execution, "fail", **ERROR)
    lines = ok(api.get(f"/executions/{execution}/logs"))["data"]
    assert [line["level"] for line in lines] == ["error", "warn"]
