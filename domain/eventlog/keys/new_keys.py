"""What becomes of data keys in the commit of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from domain.eventlog.codec import EventRow
from domain.eventlog.keyring import Keyring
from domain.eventlog.states import StateLoader


class NewKeys(NamedTuple):
    """The data keys that a batch makes, wrapped, and those that it destroys: of which streams, and by which of
    its events, from 1.
    """

    made: Mapping[str, bytes]
    erased: Mapping[str, int]

    @classmethod
    def of(cls, events: Sequence[EventRow], states: StateLoader) -> Self:
        """What becomes of keys by some events."""
        erasing = states.codec.erasing
        erased = {row.stream: nth for nth, row in enumerate(events, 1) if row.type in erasing}
        streams = {event.stream for event in events}
        return cls(states.keyring.unsaved(streams - erased.keys()), erased)

    def written(self, keyring: Keyring) -> None:
        """All of it is committed."""
        keyring.stored(self.made)
        keyring.destroy(self.erased)
