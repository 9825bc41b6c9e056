"""The outages of a database: whether it is unavailable, or its disk is full. Their begin and end are logged."""

from __future__ import annotations

from time import monotonic

import structlog

from domain.errors import Overloaded

AWAY = "The database does not answer in time. Send it again, with the same Idempotency-Key if it had one."
FULL = (
    "The disk of the database is full, so nothing can be recorded. Send it again when there is room, "
    "with the same Idempotency-Key if it had one."
)
MOVING = "The log is being moved to another database. Send it again, with the same Idempotency-Key if it had one."
BELIEVED = 10.0
"""Seconds for which the disk counts as full after the last error: nothing reports when there is room again."""

log = structlog.get_logger()


class Outages:
    """The present outages of the database of one log, by the results of using it."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._full_until = 0.0
        self._full = False
        self._refused = 0

    @property
    def current(self) -> Overloaded | None:
        """The error for callers that need the database now; None where there is no outage."""
        if self._is_full():
            return Overloaded(FULL)
        return None if self._since is None else Overloaded(AWAY)

    def refuse(self, commands: int = 1, otherwise: str = AWAY) -> Overloaded:
        """Count refused commands, if there is an outage; return the error for their callers, with the text `otherwise` if there
        is no outage.
        """
        current = self.current
        if current is not None:
            self._refused += commands
        return current or Overloaded(otherwise)

    def begin(self, reason: str) -> None:
        """Note that the database is unavailable."""
        if self._since is None:
            self._since = monotonic()
            log.warning("the database is away", reason=_in_one_line(reason))

    def note_answer(self) -> None:
        """Note that the database has answered."""
        if self._since is not None:
            self._end("the database is back", self._since)
            self._since = None

    def disk_is_full(self, reason: str) -> None:
        """Note that the disk of the database is full."""
        self._full_until = monotonic() + BELIEVED
        if not self._full:
            self._full = True
            log.error("the disk of the database is full", reason=_in_one_line(reason))

    def _is_full(self) -> bool:
        if self._full and monotonic() > self._full_until:
            self._full = False
            self._end("the disk of the database has room again")
        return self._full

    def _end(self, event: str, since: float | None = None) -> None:
        lasted = {} if since is None else {"seconds": round(monotonic() - since, 1)}
        log.warning(event, refused=self._refused, **lasted)
        self._refused = 0


def _in_one_line(reason: str) -> str:
    return " ".join(reason.split())
