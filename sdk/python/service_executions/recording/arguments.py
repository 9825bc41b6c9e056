"""Captures the arguments of a call that is recorded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def capture(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Return the arguments of a call by their names."""
    bound = inspect.signature(function).bind(*args, **named)
    bound.apply_defaults()
    return dict(bound.arguments)
