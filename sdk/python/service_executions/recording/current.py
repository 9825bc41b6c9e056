"""The run and the step that are being recorded in the present context, which tasks and some threads copy."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

RUN: ContextVar[Any] = ContextVar("service_executions_run", default=None)
STEP: ContextVar[Any] = ContextVar("service_executions_step", default=None)
