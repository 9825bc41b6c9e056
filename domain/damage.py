"""Reports stored data that cannot be read, once for each place. A report names the place and the kind of fault, and never
quotes content.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import structlog
from pydantic import ValidationError

from domain.errors import Damaged, Unreadable
from domain.lru import LruCache

log = structlog.get_logger()
K = TypeVar("K", bound=Hashable)

REMEMBERED = 100_000
"""Places, and streams, that are cached as reported."""
MOST_FAULTS = 5
"""Validation errors of one event that a report names."""


class DamageReports:
    """Logs the first damage of each stream, and counts the damaged places."""

    def __init__(self) -> None:
        self.count = 0
        """Events, keys and log lines that this process could not read."""
        self._reported: LruCache[tuple[str, int], bool] = LruCache(REMEMBERED)
        self._streams: LruCache[tuple[str, str], bool] = LruCache(REMEMBERED)

    def report(self, what: str, stream: str, version: int, error: Exception) -> None:
        """Report that a part of a stream cannot be read: the event with this version, or, with 0, something else."""
        if _is_new(self._reported, (stream, version)):
            self.count += 1
        if _is_new(self._streams, (what, stream)):
            log.error(what, stream=stream, version=version, reason=reason(error))

    def forget(self) -> None:
        """Forget what was reported, so that it is reported again."""
        self._reported.clear()
        self._streams.clear()


REPORTS = DamageReports()
"""The reports of this process."""


def reason(error: Exception) -> str:
    """The kind of an error, without any content."""
    match error:
        case ValidationError():
            found = error.errors(include_url=False, include_context=False, include_input=False)
            faults = [f"{'.'.join(map(str, each['loc']))} {each['type']}" for each in found]
            return "; ".join(faults[:MOST_FAULTS])
        case Damaged():
            return str(error)
        case _:
            return type(error).__name__


def report(error: Damaged) -> None:
    """Report an event that cannot be read."""
    members = error.members
    REPORTS.report(
        "an event cannot be read", members.get("stream", ""), members.get("version", 0), error
    )


def report_if_damaged(error: Unreadable) -> None:
    """Report an error, if it is damage; `LimitedArchive` logs an archive that is unavailable."""
    if isinstance(error, Damaged):
        report(error)


def report_damaged(unreadable: Mapping[str, Unreadable]) -> None:
    """Report the damaged ones among streams that cannot be read. Raises an error that is no damage."""
    for stream, error in unreadable.items():
        if not isinstance(error, Damaged):
            raise error
        report(Damaged(error.detail, reason=error.reason, stream=stream))


def _is_new(cache: LruCache[K, bool], key: K) -> bool:
    if cache.get(key):
        return False
    cache.put(key, True)
    cache.trim()
    return True
