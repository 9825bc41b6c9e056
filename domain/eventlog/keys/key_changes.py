"""The changes of data keys that are committed with a batch."""

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


class KeyChanges(NamedTuple):
    """The changes of data keys by a batch: the wrapped new keys, by stream, and for each stream whose key is destroyed the
    index, from 1, of the event that destroys it.
    """

    made: Mapping[str, bytes]
    erased: Mapping[str, int]

    @classmethod
    def of(cls, events: Sequence[EventRow], states: StateLoader) -> Self:
        """The changes of keys by the events of a batch."""
        erasing, unsaved = states.codec.erasing, states.keyring.unsaved_keys
        streams = {event.stream for event in events}
        if erasing.isdisjoint(map(TYPE, events)):  # the fast path of nearly all batches
            return cls(unsaved(streams), {})
        erased = {row.stream: nth for nth, row in enumerate(events, 1) if row.type in erasing}
        return cls(unsaved(streams - erased.keys()), erased)

    def values(self, states: StateLoader) -> list[Any]:
        """The values of an append statement: for new keys the id of the master key and two arrays; for destroyed ones two
        arrays.
        """
        values: list[Any] = []
        if self.made:
            values = [states.keyring.master_key_id, *columns(KEY_ARRAYS, list(self.made.items()))]
        if self.erased:
            values += columns(ERASED_ARRAYS, list(self.erased.items()))
        return values

    def note_written(self, keyring: Keyring) -> None:
        """Update the keyring after the commit."""
        keyring.note_stored(self.made)
        keyring.destroy(self.erased)
