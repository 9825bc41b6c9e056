"""What becomes of data keys in the commit of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Self

from domain.eventlog.codec import EventRow
from domain.eventlog.connection.pg_arrays import columns
from domain.eventlog.keyring import Keyring
from domain.eventlog.queries import ERASED_ARRAYS
from domain.eventlog.states import StateLoader

TYPE = attrgetter("type")
KEY_ARRAYS = ("text", "bytea")


class NewKeys(NamedTuple):
    """The data keys that a batch makes, wrapped, and those that it destroys: of which streams, and by which of
    its events, from 1.
    """

    made: Mapping[str, bytes]
    erased: Mapping[str, int]

    @classmethod
    def of(cls, events: Sequence[EventRow], states: StateLoader) -> Self:
        """What becomes of keys by some events."""
        erasing, unsaved = states.codec.erasing, states.keyring.unsaved_keys
        streams = {event.stream for event in events}
        if erasing.isdisjoint(map(TYPE, events)):  # as always, but for the rarest of batches
            return cls(unsaved(streams), {})
        erased = {row.stream: nth for nth, row in enumerate(events, 1) if row.type in erasing}
        return cls(unsaved(streams - erased.keys()), erased)

    def values(self, states: StateLoader) -> list[Any]:
        """As a statement wants them that appends: by which master key those that are new were wrapped, and these; and
        those that are erased.
        """
        values: list[Any] = []
        if self.made:
            values = [states.keyring.master_key_id, *columns(KEY_ARRAYS, list(self.made.items()))]
        if self.erased:
            values += columns(ERASED_ARRAYS, list(self.erased.items()))
        return values

    def note_written(self, keyring: Keyring) -> None:
        """All of it is committed."""
        keyring.note_stored(self.made)
        keyring.destroy(self.erased)
