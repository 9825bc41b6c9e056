"""Which failures are passing ones, and how long to wait before a request is sent again."""

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
"""Never 409, 412 or 422: these say that something is decided, and asking again would not change it."""
BROKEN = (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError)
"""How a connection fails that may be made again."""
UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
"""How it fails before anything was sent."""
SHORTEST, LONGEST, LONGEST_ASKED = 0.25, 8.0, 120.0
"""Seconds: the first pause of our own, the longest one, and the longest one that a service may ask for."""


@dataclass(frozen=True)
class Retries:
    """At most so many retries of one request, with pauses that grow."""

    most: int

    def pause(self, attempt: int, failure: Exception) -> float | None:
        """Seconds to wait after a failed attempt, counted from 0; None where it was the last one."""
        if attempt >= self.most or not passing(failure):
            return None
        asked = failure.retry_after if isinstance(failure, ApiError) else None
        if asked is not None:
            return asked if asked <= LONGEST_ASKED else None
        return random.uniform(0, min(LONGEST, SHORTEST * 2**attempt))  # noqa: S311 - no secret


def passing(failure: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(failure, ApiError):
        return failure.status in PASSING and not isinstance(failure, NotYetVisible)
    return isinstance(failure, ConnectionFailed) and failure.is_passing


def maybe_recorded(failure: Exception) -> bool:
    """Whether a request that failed in passing may have been carried out all the same."""
    if isinstance(failure, ConnectionFailed):
        return failure.maybe_recorded
    return not isinstance(failure, Overloaded | RateLimited | TooSlow)


def require_service(url: str, response: httpx2.Response) -> None:
    """Let an answer pass that the service may have given: none of those is text, or a page for people.

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
    """The error to raise for a connection that broke."""
    reason = str(error) or type(error).__name__
    return ConnectionFailed(
        f"{url} gave no answer ({reason})",
        maybe_recorded=not isinstance(error, UNSENT),
        is_passing=isinstance(error, BROKEN),
    )
