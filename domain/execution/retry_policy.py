"""The retry policy of an execution, and the delay before a retry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from domain.json_forms import Milliseconds, in_milliseconds, whole
from domain.model import Value

DAY = 86_400_000
LARGEST_EXPONENT = 40
"""The largest exponent of the backoff: 2^40 times the shortest delay exceeds the longest one."""

Delay = Annotated[timedelta, Milliseconds(0, DAY)]


class RetryPolicy(Value):
    """When and how often a recoverable failure is tried again. `maxRetries: 3` is 4 attempts in all."""

    max_retries: Annotated[int, Field(ge=0, le=100), BeforeValidator(whole)]
    backoff: Literal["linear", "exponential"]
    initial_delay: Delay
    max_delay: Delay
    jitter: Literal["none", "full", "equal"] = "none"

    def delay(self, retry: int, random: Callable[[], float]) -> timedelta:
        """Draw the delay before the n-th retry (from 1), in whole milliseconds."""
        longest, first = in_milliseconds(self.max_delay), in_milliseconds(self.initial_delay)
        delay = min(longest, first * self._factor(retry))
        match self.jitter:
            case "full":
                delay = int(delay * random())
            case "equal":
                delay = int(delay * (1 + random()) / 2)
        return timedelta(milliseconds=delay)

    def _factor(self, retry: int) -> int:
        """How many times the initial delay comes before the n-th retry."""
        match self.backoff:
            case "linear":
                return retry
            case "exponential":
                return 1 << min(retry - 1, LARGEST_EXPONENT)
