"""The run and the step that are being recorded in the present context, which tasks and some threads copy."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any

RUN: ContextVar[Any] = ContextVar("service_executions_run", default=None)
STEP: ContextVar[Any] = ContextVar("service_executions_step", default=None)


def reset(variable: ContextVar[Any], token: Token[Any]) -> None:
    """Give a variable its former value, if the context is the one in which it was set: a generator may be closed in another."""
    with suppress(ValueError):
        variable.reset(token)
