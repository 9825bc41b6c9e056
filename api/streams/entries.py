"""Events as streams keep them: each is read once, and each of its frames is made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from domain.eventlog.codec import Stored
from domain.eventlog.encryption import DataKey
from domain.model import Held, Recorded
from projections.query.matcher import PARTIES

if TYPE_CHECKING:
    from api.streams.forms import Form

KIND = "execution/"
"""What streams are called that have states to be told."""
SIZE = 256
"""Positions in a segment."""
OVERHEAD = 1_200
"""Bytes that an entry takes beside its data, roughly, its frames included."""

ENDS = {
    "execution.completed": True,
    "execution.cancelled": True,
    "execution.retry": False,
    "execution.starting": False,
}


class Told(NamedTuple):
    """An event with the state before and after it, sealed fields as `Ciphertext`."""

    recorded: Recorded
    before: Held[Any] | None
    after: Held[Any]


class Entry:
    """One event: its row, the key that opens it, and the frames made of it so far."""

    __slots__ = (
        "_parties",
        "frames",
        "key",
        "position",
        "row",
        "stream",
        "told",
        "type",
        "unreadable",
    )

    def __init__(self, row: Stored, key: DataKey | None) -> None:
        self.row = row
        self.key = key
        self.position = row.position
        self.stream = row.stream
        self.type = row.type
        self.told: Told | None = None
        self.unreadable = False
        """Whether the state after it cannot be known here."""
        self.frames: dict[Form, bytes] = {}
        self._parties: dict[str, str] | None = None

    @property
    def parties(self) -> dict[str, str]:
        """The customer and the provider that it names."""
        if self._parties is None:
            meta = orjson.loads(self.row.meta)
            self._parties = {name: meta[name] for name in PARTIES if name in meta}
        return self._parties

    @property
    def untold(self) -> bool:
        """Whether there is a state before and after it, and nobody has told it so far."""
        return self.told is None and not self.unreadable and self.stream.startswith(KIND)

    @property
    def ends(self) -> bool | None:
        """Whether the story of its stream ends here, goes on again, or (None) is not changed in that."""
        if self.type == "execution.failed":
            return b'"final":true' in self.row.data
        return ENDS.get(self.type)


class Chunk(NamedTuple):
    """Frames to be sent in one go, and the cursor after them."""

    data: bytes
    cursor: int


class Segment:
    """A run of entries without holes, all of one slot of `SIZE` positions."""

    __slots__ = ("chunks", "entries", "first", "size", "told")

    def __init__(self, first: int) -> None:
        self.first = first
        self.entries: list[Entry] = []
        self.size = 0
        self.told = 0
        """How many of the entries, from the first, have been told."""
        self.chunks: dict[tuple[Form, int], Chunk] = {}

    @property
    def last(self) -> int:
        """The position of its last entry; one before `first` while it is empty."""
        return self.first + len(self.entries) - 1

    @property
    def full(self) -> bool:
        """Whether nothing can be added to it any more."""
        return self.last % SIZE == 0

    def extend(self, entries: Sequence[Entry], *, told: bool = False) -> None:
        """Add what follows."""
        if told and self.told == len(self.entries):
            self.told += len(entries)
        self.entries.extend(entries)
        self.size += sum(len(entry.row.data) for entry in entries) + OVERHEAD * len(entries)


def slot(position: int) -> int:
    """The number of the slot that a position lies in, from 0."""
    return (position - 1) // SIZE
