"""Initial histories of tests, named for the status they lead to."""

from __future__ import annotations

from datetime import timedelta

from domain.catalog.order import Order
from domain.catalog.service import Service
from domain.execution.events.creation import ExecutionCreated
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionStarted,
    ExecutionStarting,
    RetryScheduled,
)
from domain.execution.events.progress import CheckpointSaved
from domain.execution.retry_policy import RetryPolicy
from domain.execution.types import ExecutionError, ExecutionResult, Status
from domain.model import Event
from tests.support.given import NOON

ORDER = Order("o-1", service="s-1", customer="c-1", provider="p-1")
SERVICE = Service("s-1", name="Outreach", provider="p-1")

CREATED = ExecutionCreated(order="o-1", service="s-1", customer="c-1", provider="p-1")
STARTING = ExecutionStarting()
STARTED = ExecutionStarted()
RESULT = ExecutionResult(success=True, output={"sent": 2}, summary="Sent two")
BROKEN = ExecutionError(code="SMTP", message="No answer", recoverable=True)
HOPELESS = ExecutionError(code="DENIED", message="Not allowed")
FAILED_FINALLY = ExecutionFailed(error=BROKEN, final=True, will_retry=False)
THREE_RETRIES = RetryPolicy(
    max_retries=3,
    backoff="exponential",
    initial_delay=timedelta(seconds=1),
    max_delay=timedelta(seconds=60),
)
CHECKPOINT = CheckpointSaved(checkpoint="cp-1", state={"page": 3}, step="", progress=0)
PAUSED = ExecutionPaused(checkpoint="cp-1", reason="lunch")

RUNNING: tuple[Event, ...] = (CREATED, STARTING, STARTED)
WAITING: tuple[Event, ...] = (
    *RUNNING,
    ExecutionFailed(error=BROKEN, final=False, will_retry=True),
    RetryScheduled(
        retry=1,
        max_retries=3,
        delay=timedelta(seconds=1),
        next_retry_at=NOON + timedelta(seconds=5),
    ),
)
HISTORIES: dict[Status, tuple[Event, ...]] = {
    Status.QUEUED: (CREATED,),
    Status.STARTING: (CREATED, STARTING),
    Status.RUNNING: RUNNING,
    Status.PAUSED: (*RUNNING, CHECKPOINT, PAUSED),
    Status.COMPLETED: (*RUNNING, ExecutionCompleted(success=True, result=RESULT)),
    Status.FAILED: (*RUNNING, FAILED_FINALLY),
    Status.CANCELLED: (*RUNNING, ExecutionCancelled(reason="changed my mind")),
    Status.RETRY: WAITING,
}
