"""Decides which failures are temporary, and how long to wait before a request is sent again."""

from __future__ import annotations

import random
from dataclasses import dataclass

import httpx2

from service_executions.errors import (
    ApiError,
    ConnectionFailed,
    NotYetVisible,
    Overloaded,
    RateLimited,
    TooSlow,
)

PASSING = frozenset({408, 429, 502, 503, 504})
"""Statuses of temporary failures. 409, 412 and 422 are final: the same request would be refused again."""
BROKEN = (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError)
"""Errors of a connection after which another attempt may succeed."""
UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
"""Errors before any part of the request was sent."""
SHORTEST, LONGEST, LONGEST_ASKED = 0.25, 8.0, 120.0
"""Seconds: the first pause, the longest pause, and the longest `Retry-After` of the service that is obeyed."""


@dataclass(frozen=True)
class Retries:
    """Retries of one request, at most `most`, with growing pauses."""

    most: int

    def pause(self, attempt: int, failure: Exception) -> float | None:
        """Return the seconds to wait after a failed attempt, counted from 0; None if it was the last attempt."""
        if attempt >= self.most or not passing(failure):
            return None
        asked = failure.retry_after if isinstance(failure, ApiError) else None
        if asked is not None:
            return asked if asked <= LONGEST_ASKED else None
        return random.uniform(0, min(LONGEST, SHORTEST * 2**attempt))  # noqa: S311 - no secret


def passing(failure: Exception) -> bool:
    """Whether a failure is temporary, so that the same request may succeed later."""
    if isinstance(failure, ApiError):
        return failure.status in PASSING and not isinstance(failure, NotYetVisible)
    return isinstance(failure, ConnectionFailed) and failure.is_passing


def maybe_recorded(failure: Exception) -> bool:
    """Whether a command may have been recorded although its request failed temporarily."""
    if isinstance(failure, ConnectionFailed):
        return failure.maybe_recorded
    return not isinstance(failure, Overloaded | RateLimited | TooSlow)


def require_service(url: str, response: httpx2.Response) -> None:
    """Check that an answer may be from the service, whose answers are never text or HTML.

    Raises:
        ConnectionFailed: something else answers at this address.
    """
    kind = response.headers.get("content-type", "").partition(";")[0]
    if response.content and not kind.startswith("application/"):
        raise ConnectionFailed(
            f"{url} is not the service: it answers {kind or 'something without a type'}",
            maybe_recorded=False,
            is_passing=False,
        )


def connection_failed(url: str, error: httpx2.TransportError) -> ConnectionFailed:
    """Return the error to raise for a failed connection."""
    reason = str(error) or type(error).__name__
    return ConnectionFailed(
        f"{url} gave no answer ({reason})",
        maybe_recorded=not isinstance(error, UNSENT),
        is_passing=isinstance(error, BROKEN),
    )
