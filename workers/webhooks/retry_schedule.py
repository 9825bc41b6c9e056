"""When a call that failed is made again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

DELAYS = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=12),
)
"""After the first failure, the second, and so on; after one more the event is given up."""
JITTER = 0.2
"""The part of a delay that may be added, so that not all come at once where all failed at once."""
LONGEST_WISH = timedelta(days=1)
"""What a receiver may ask for by `Retry-After`."""


def next_attempt_at(
    failures: int, now: datetime, chance: float, retry_after: str | None = None
) -> datetime | None:
    """When to call again after so many failures; None where the event is given up.

    `chance` is from 0 to 1. A receiver may ask for a later time, but not for an earlier one.
    """
    if failures > len(DELAYS):
        return None
    at = now + DELAYS[failures - 1] * (1 + JITTER * chance)
    return max(at, asked_for(retry_after, now))


def asked_for(retry_after: str | None, now: datetime) -> datetime:
    """The time that `Retry-After` asks for in seconds or as a date (RFC 9110, 10.2.3), `LONGEST_WISH` from now at
    most; now, where it is neither.
    """
    return min(_parse_retry_after(retry_after, now), now + LONGEST_WISH)


def _parse_retry_after(retry_after: str | None, now: datetime) -> datetime:
    if retry_after is None:
        return now
    if retry_after.isascii() and retry_after.isdecimal():
        return now + min(timedelta(seconds=int(retry_after[:9])), LONGEST_WISH)
    try:
        at = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return now
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
