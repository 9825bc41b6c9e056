"""Lines that the server writes into the log of an execution."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.eventlog.encryption import DataKey
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    RetryScheduled,
)
from domain.execution.types import ExecutionError
from domain.model import Event, Recorded
from domain.registry import codec
from projections.log_lines.model import line_document, note_of
from tests.support.given import NOON
from tests.support.histories import RESULT

KEY = DataKey(b"k" * 32, "execution/e-1")


def retry(number: int, most: int | None, delay: float = 2) -> RetryScheduled:
    return RetryScheduled(
        retry=number, max_retries=most, delay=timedelta(seconds=delay), next_retry_at=NOON
    )


FAILURE = ExecutionError(code="API_TIMEOUT", message="No answer")
UNSUCCESSFUL = RESULT.model_copy(update={"success": False})
TEXTS: list[tuple[Event, str, str]] = [
    (
        ExecutionFailed(error=FAILURE, final=True, will_retry=False),
        "error",
        "API_TIMEOUT: No answer",
    ),
    (retry(1, 3, 1), "warn", "Retrying after 1s (attempt 1/3)"),
    (retry(3, 3, 0.25), "warn", "Retrying after 0.25s (attempt 3/3)"),
    (retry(2, 1), "warn", "Retrying after 2s (manual)"),
    (retry(1, 0), "warn", "Retrying after 2s (manual)"),
    (retry(1, None, 0), "warn", "Retrying after 0s (manual)"),
    (ExecutionCompleted(success=True, result=RESULT), "info", "Request completed"),
    (
        ExecutionCompleted(success=False, result=UNSUCCESSFUL),
        "info",
        "Request completed without success",
    ),
    (ExecutionCancelled(), "warn", "Request cancelled"),
    (ExecutionCancelled(reason="too slow"), "warn", "Request cancelled: too slow"),
]


@pytest.mark.parametrize(("event", "level", "text"), TEXTS)
def test_server_log_line_of_an_event_has_its_level_and_text(
    event: Event, level: str, text: str
) -> None:
    keys = codec()
    stored = keys.encode(Recorded("execution/e-1", 4, 4, NOON, event, "tester"), KEY)
    line = line_document(note_of(keys.decode(stored)), KEY)
    assert (line["level"], line["message"]) == (level, text)
