"""The chain of the access log as the log of events knows it: how far it went, and what it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from domain.errors import IllegalTransition
from domain.model import Aggregate, Context, Event, Recorded, aggregate_id
from domain.recording import Recording

STREAM = "anchor/access-log"
"""There is one: the access log is one chain."""


@dataclass(frozen=True)
class AccessAnchors(Aggregate):
    """The entry that was anchored last, and its hash in hexadecimal."""

    last: int
    hash: str


class AccessAnchored(Event):
    """The entries of the access log from `first` to `last` are there.

    `hash` is that of the last, which covers all before it; `root` is that of a Merkle tree (RFC 9162) over the hashes of
    these entries. Both are in hexadecimal. All of them are of one `day`, in UTC; without it, as earlier builds wrote it,
    they may be of several.
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
    """Record how far the access log goes. Clients cannot send it. What was anchored before changes nothing.

    Raises:
        IllegalTransition: other entries come before these, and are not anchored.
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
        if self.first != (following := 1 if state is None else state.last + 1):
            raise IllegalTransition(
                f"The next entry of the access log to anchor is {following}, not {self.first}.",
                status="anchored",
                allowedCommands=[],
            )
        yield AccessAnchored(
            first=self.first, last=self.last, hash=self.hash, root=self.root, day=self.day
        )


EVENTS: tuple[type[Event], ...] = (AccessAnchored,)
