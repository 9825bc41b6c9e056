"""The states that the sender of a command may see, and whether a damaged one is reported to the sender."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from domain.errors import Forbidden, NotFound, Unreadable
from domain.eventlog.store import Store
from domain.model import Aggregate, Creation, Versioned
from domain.writer.message import Message, Permits

OWNED = ("execution/", "order/")
"""The stream prefixes of aggregates that only their parties may see. Every sender may name services, workflows and users."""


class VisibleStates(Mapping[str, Versioned[Any] | None]):
    """States of streams, in which the executions and orders that the sender may not see are None."""

    def __init__(
        self,
        states: Mapping[str, Versioned[Any] | None],
        permits: Permits,
    ) -> None:
        self._states = states
        self._permits = permits

    def __getitem__(self, stream: str) -> Versioned[Any] | None:
        versioned = self._states[stream]
        if versioned is None or not stream.startswith(OWNED) or self._permits(versioned):
            return versioned
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)


@dataclass(frozen=True)
class PartiesOnly(Aggregate):
    """Stands for a state that cannot be, or was not, loaded: only its parties are known."""

    customer: str | None
    provider: str | None
    maker: str | None

    @property
    def parties(self) -> tuple[str | None, str | None]:
        return self.customer, self.provider


def placeholder_of(damaged: Unreadable) -> Versioned[Any]:
    """A state with the parties or the maker of a damaged aggregate, by which a scope decides whether it is visible."""
    return placeholder_of_parties(damaged.parties, damaged.maker)


def placeholder_of_parties(
    parties: tuple[str | None, str | None], maker: str | None = None
) -> Versioned[Any]:
    """A state that has only parties and a maker, for an aggregate that is not loaded."""
    return Versioned(PartiesOnly("", *parties, maker), 0, 0, datetime.fromtimestamp(0, UTC))


def require_visible(permits: Permits | None, stream: str, versioned: Versioned[Any] | None) -> None:
    """Check that a stream is visible to the sender.

    Raises:
        NotFound: the stream exists, but not for this sender.
    """
    if permits is not None and versioned is not None and not permits(versioned):
        raise NotFound.of(stream)


async def load_answered_state(
    store: Store, stream: str, version: int, before: int, permits: Permits | None
) -> Versioned[Any]:
    """Load the state at `version` to repeat an earlier answer.

    The sender must be allowed to see the state at `version`, or at `before`, the version before the command: so a worker
    gets the answer again to the command that ended its claim.

    Raises:
        NotFound, Forbidden: the sender may see neither.
    """
    found = await store.load(stream, version)
    assert found is not None
    try:
        require_visible(permits, stream, found)
    except (NotFound, Forbidden):
        former = await store.load(stream, before) if before else None
        if former is None:
            raise
        require_visible(permits, stream, former)
    return found


def require_readable(message: Message, stream: str, damaged: Unreadable) -> None:
    """Raise the error of a damaged stream, if the sender may know of it.

    A stream that the sender may not see is treated as absent. A stream that the command may create is reported as damaged
    to every sender, as it cannot be created.
    """
    own, permits = stream == message.stream, message.permits
    creates = isinstance(message.command, Creation) is own
    concealable = own or stream.startswith(OWNED)
    if creates or permits is None or not concealable or permits(placeholder_of(damaged)):
        raise damaged
