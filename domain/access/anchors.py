"""Anchors of the access log: events with the hashes of its chain, so that later changes of the chain are detected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from domain.errors import IllegalTransition
from domain.model import Aggregate, Context, Event, Recorded, aggregate_id
from domain.recording import Recording

STREAM = "anchor/access-log"
"""The only stream of its kind, as the access log is one chain."""


@dataclass(frozen=True)
class AccessAnchors(Aggregate):
    """The id of the entry that was anchored last, and its hash in hexadecimal."""

    last: int
    hash: str


class AccessAnchored(Event):
    """The access log has the entries from `first` to `last`.

    `hash`: the hash of the last entry, which covers all entries before; `root`: the root of a Merkle tree (RFC 9162) over the
    hashes of these entries; both in hexadecimal. `day`: the day of all these entries, in UTC. Earlier builds wrote no `day`,
    and the entries may be of several days.
    """

    type: ClassVar[str] = "access.anchored"
    first: int
    last: int
    hash: str
    root: str
    day: date | None = None

    def apply(self, state: AccessAnchors | None, recorded: Recorded) -> AccessAnchors:
        return AccessAnchors(aggregate_id(recorded.stream), self.last, self.hash)


class AnchorAccess(Recording[AccessAnchors]):
    """Anchor entries of the access log. Only the server sends this. Entries that are anchored already lead to no event.

    Raises:
        IllegalTransition: entries before these are not anchored.
    """

    wire_name: ClassVar[str] = "anchorAccess"

    first: int
    last: int
    hash: str
    root: str
    day: date

    def decide(self, state: AccessAnchors | None, context: Context) -> Iterator[Event]:
        if state is not None and self.first <= state.last:
            return
        if self.first != (next_entry := 1 if state is None else state.last + 1):
            raise IllegalTransition(
                f"The next entry of the access log to anchor is {next_entry}, not {self.first}.",
                status="anchored",
                allowedCommands=[],
            )
        yield AccessAnchored(
            first=self.first, last=self.last, hash=self.hash, root=self.root, day=self.day
        )


EVENTS: tuple[type[Event], ...] = (AccessAnchored,)
