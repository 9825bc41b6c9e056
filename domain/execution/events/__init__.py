"""The events of an execution. The `apply` of each returns the state after it.

A new event is a class in one of these files and a name in `EVENTS`.
"""

from __future__ import annotations

from domain.execution.events.claims import CLAIM_EVENTS
from domain.execution.events.creation import ExecutionCreated, ExecutionUpdated
from domain.execution.events.event import ExecutionEvent
from domain.execution.events.lifecycle import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionErased,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionStarting,
    RetryScheduled,
)
from domain.execution.events.progress import CheckpointSaved, ProgressUpdated
from domain.execution.events.steps import STEP_EVENTS

EVENTS: tuple[type[ExecutionEvent], ...] = (
    ExecutionCreated,
    ExecutionStarting,
    ExecutionStarted,
    ProgressUpdated,
    CheckpointSaved,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionCompleted,
    ExecutionFailed,
    RetryScheduled,
    ExecutionCancelled,
    ExecutionErased,
    ExecutionUpdated,
    *CLAIM_EVENTS,
    *STEP_EVENTS,
)
