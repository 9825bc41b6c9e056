"""The clock and the maker of ids: what everything else is given."""

from __future__ import annotations

from datetime import UTC, datetime

from ulid import ULID


def now() -> datetime:
    """Now, in UTC, to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def new_id(kind: str) -> str:
    """An identity that sorts by the time it was made."""
    return f"{kind}_{ULID()}"
