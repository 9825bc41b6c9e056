"""One event of the log as subscribers share it."""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

import orjson

from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey
from domain.model import Recorded, Versioned
from projections.query.matcher import PARTIES

EXECUTIONS = "execution/"
"""The streams of executions begin with this; they alone have states to fold."""
ENDS = {
    "execution.completed": True,
    "execution.cancelled": True,
    "execution.retry": False,
    "execution.starting": False,
}
SERIALS = count()


class States(NamedTuple):
    """A decoded event with the state before and after it, sealed fields as `Ciphertext`."""

    recorded: Recorded
    before: Versioned[Any] | None
    after: Versioned[Any]


class Entry:
    """One event: its row, the key that opens it, and in the folded feed the states around it.

    `states` is None in the raw feed, for other aggregates, and where this program cannot read the
    event. `serial` is unique in the process: caches use it, so that they keep no entry alive.
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
        """Whether it belongs to an execution."""
        return self.stream.startswith(EXECUTIONS)

    @property
    def parties(self) -> dict[str, str]:
        """The customer and the provider that it names; none where its metadata is damaged."""
        if self._parties is None:
            try:
                meta = orjson.loads(self.row.meta)
                self._parties = {name: meta[name] for name in PARTIES if name in meta}
            except (orjson.JSONDecodeError, TypeError):
                self._parties = {}
        return self._parties

    @property
    def ends(self) -> bool | None:
        """Whether its execution ends here (True) or goes on again (False); None changes neither."""
        if self.type == "execution.failed":
            return b'"final":true' in self.row.data
        return ENDS.get(self.type)


class Chunk(NamedTuple):
    """Frames to send in one write, and the cursor after them."""

    data: bytes
    cursor: int
