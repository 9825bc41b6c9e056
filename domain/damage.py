"""Stored data that cannot be read: reported once for each event, however often it is read.

What is reported names the place and the kind of fault, never the content.
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
MOST_FAULTS = 5
"""Of one event; a report of all of them would tell no more."""


class DamageReports:
    """Logs the first fault of each stream, and counts the events that have one."""

    def __init__(self) -> None:
        self.count = 0
        """Events, keys and log lines that this process could not read."""
        self._reported: LruCache[tuple[str, int], bool] = LruCache(REMEMBERED)
        self._streams: LruCache[tuple[str, str], bool] = LruCache(REMEMBERED)

    def report(self, what: str, stream: str, version: int, error: Exception) -> None:
        """Something of a stream cannot be read; version 0 is that of no event."""
        if _is_new(self._reported, (stream, version)):
            self.count += 1
        if _is_new(self._streams, (what, stream)):
            log.error(what, stream=stream, version=version, reason=reason(error))

    def forget(self) -> None:
        """Report everything again."""
        self._reported.clear()
        self._streams.clear()


REPORTS = DamageReports()
"""Those of the process."""


def reason(error: Exception) -> str:
    """What is wrong, without a word of the content in which it is wrong."""
    match error:
        case ValidationError():
            found = error.errors(include_url=False, include_context=False, include_input=False)
            faults = [f"{'.'.join(map(str, one['loc']))} {one['type']}" for one in found]
            return "; ".join(faults[:MOST_FAULTS])
        case Damaged():
            return str(error)
        case _:
            return type(error).__name__


def report(error: Damaged) -> None:
    """Report a stream that cannot be read to its end."""
    members = error.members
    REPORTS.report(
        "an event cannot be read", members.get("stream", ""), members.get("version", 0), error
    )


def report_if_damaged(error: Unreadable) -> None:
    """Report what is damaged; an archive that is away says so itself."""
    if isinstance(error, Damaged):
        report(error)


def report_damaged(unreadable: Mapping[str, Unreadable]) -> None:
    """Report what is damaged of some streams; raises what is wrong with one that is not."""
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
