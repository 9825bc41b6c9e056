"""One event of the log, as subscribers share it in memory."""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

import orjson

from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey
from domain.model import Recorded, Versioned
from projections.query.matcher import PARTIES

EXECUTIONS = "execution/"
"""The prefix of the streams of executions; only they have states to fold."""
ENDS = {
    "execution.completed": True,
    "execution.cancelled": True,
    "execution.retry": False,
    "execution.starting": False,
}
"""Types of events after which an execution has ended (True), or continues (False)."""
SERIALS = count()


class States(NamedTuple):
    """A decoded event with the state before and after it, sealed fields as `Ciphertext`."""

    recorded: Recorded
    before: Versioned[Any] | None
    after: Versioned[Any]


class Entry:
    """One event: its row, the data key of its stream, and in the folded feed the states around the event.

    `states` is None in the raw feed, for other aggregates, and where this program cannot read the
    event. `serial` is unique in the process: caches use it as a key, so that they hold no reference to an entry.
    `log` is the name of the log, if it has one.
    """

    __slots__ = ("_parties", "key", "log", "position", "row", "serial", "states", "stream", "type")

    def __init__(
        self,
        row: EventRow,
        key: DataKey | None,
        states: States | None = None,
        log: str | None = None,
    ) -> None:
        self.row = row
        self.key = key
        self.log = log
        self.states = states
        self.position = row.position
        self.stream = row.stream
        self.type = row.type
        self.serial = next(SERIALS)
        self._parties: dict[str, str] | None = None

    @property
    def of_execution(self) -> bool:
        """Whether the event belongs to an execution."""
        return self.stream.startswith(EXECUTIONS)

    @property
    def parties(self) -> dict[str, str]:
        """The customer and the provider that the event names; empty where its metadata is damaged."""
        if self._parties is None:
            try:
                meta = orjson.loads(self.row.meta)
                self._parties = {name: meta[name] for name in PARTIES if name in meta}
            except (orjson.JSONDecodeError, TypeError):
                self._parties = {}
        return self._parties

    @property
    def ends(self) -> bool | None:
        """Whether the event ends its execution (True) or continues it (False); None for events that do neither."""
        if self.type == "execution.failed":
            return b'"final":true' in self.row.data
        return ENDS.get(self.type)


class Chunk(NamedTuple):
    """Frames to send in one write, and the cursor after them."""

    data: bytes
    cursor: int
