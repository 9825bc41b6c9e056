"""Whether the database is away, or its disk full: known to all who ask, logged when it begins and ends."""

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
"""Seconds for which a disk is taken for full after the last sign of it: no error says when there is room again."""

log = structlog.get_logger()


class Outages:
    """What is known of the database of one log, by what came of using it."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._full_until = 0.0
        self._full = False
        self._refused = 0

    @property
    def current(self) -> Overloaded | None:
        """The refusal of whatever needs the database now; None where it answers."""
        if self._is_full():
            return Overloaded(FULL)
        return None if self._since is None else Overloaded(AWAY)

    def refuse(self, commands: int = 1) -> Overloaded:
        """The refusal of commands that the database has kept waiting; an outage counts them."""
        current = self.current
        if current is not None:
            self._refused += commands
        return current or Overloaded(AWAY)

    def begin(self, reason: str) -> None:
        """The database is away."""
        if self._since is None:
            self._since = monotonic()
            log.warning("the database is away", reason=_line(reason))

    def note_answer(self) -> None:
        """The database has answered."""
        if self._since is not None:
            self._end("the database is back", self._since)
            self._since = None

    def disk_is_full(self, reason: str) -> None:
        """There is no room on its disk."""
        self._full_until = monotonic() + BELIEVED
        if not self._full:
            self._full = True
            log.error("the disk of the database is full", reason=_line(reason))

    def _is_full(self) -> bool:
        if self._full and monotonic() > self._full_until:
            self._full = False
            self._end("the disk of the database has room again")
        return self._full

    def _end(self, event: str, since: float | None = None) -> None:
        lasted = {} if since is None else {"seconds": round(monotonic() - since, 1)}
        log.warning(event, refused=self._refused, **lasted)
        self._refused = 0


def _line(reason: str) -> str:
    return " ".join(reason.split())
