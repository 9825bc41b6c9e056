"""What is being recorded where this code runs: also in tasks and threads that have copied the context."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

RUN: ContextVar[Any] = ContextVar("service_executions_run", default=None)
STEP: ContextVar[Any] = ContextVar("service_executions_step", default=None)
