"""Of many diagnostic lines of one kind, a few are logged and the others counted."""

from __future__ import annotations

import logging

import pytest
import structlog
from prometheus_client import generate_latest

from api.telemetry.log_limit import KINDS, LEFT_OUT, MOST, PERIOD, LogLimit


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def passes(limit: LogLimit, event: str, level: str = "warning") -> dict[str, object] | None:
    try:
        return dict(limit(None, level, {"event": event}))
    except structlog.DropEvent:
        return None


def test_lines_of_a_kind_beyond_the_limit_are_left_out_and_counted() -> None:
    time, before = Time(), LEFT_OUT.count
    limit = LogLimit(time)
    assert sum(passes(limit, "noise") is not None for _ in range(100)) == MOST
    assert passes(limit, "news") == {"event": "news"}
    assert LEFT_OUT.count - before == 100 - MOST
    assert f"executions_log_lines_left_out_total {LEFT_OUT.count}.0" in generate_latest().decode()
    time.now = PERIOD
    assert passes(limit, "noise") == {"event": "noise", "left_out": 100 - MOST}
    assert passes(limit, "noise") == {"event": "noise"}


def test_lines_of_level_debug_have_no_limit() -> None:
    limit = LogLimit(Time())
    assert all(passes(limit, "noise", "debug") for _ in range(100))


def test_records_of_a_library_with_different_values_are_one_kind() -> None:
    time = Time()
    limit = LogLimit(time)
    records = [record("gone: %s", number) for number in range(100)]
    assert sum(limit.filter(each) for each in records) == MOST
    time.now = PERIOD
    assert limit.filter(last := record("gone: %s", 100))
    assert last.__dict__["left_out"] == 100 - MOST


def test_record_of_a_library_whose_message_is_not_a_string_is_logged() -> None:
    said = logging.makeLogRecord({"name": "library", "msg": {"gone": 1}})
    assert LogLimit(Time()).filter(said)


def record(message: str, number: int) -> logging.LogRecord:
    return logging.LogRecord("library", logging.WARNING, "", 1, message, (number,), None)


def test_memory_for_kinds_of_lines_is_bounded() -> None:
    limit = LogLimit(Time())
    for number in range(3 * KINDS):
        passes(limit, f"kind {number}")
    assert len(limit._kinds) <= KINDS + 1


@pytest.mark.parametrize("level", ["info", "error"])
def test_line_keeps_its_members(level: str) -> None:
    line = LogLimit(Time())(None, level, {"event": "news", "task": "tail"})
    assert line == {"event": "news", "task": "tail"}
