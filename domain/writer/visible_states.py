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
"""The kinds that belong to a customer and a provider alone. Services, workflows and users are for all to name."""


class VisibleStates(Mapping[str, Versioned[Any] | None]):
    """States without the executions and orders that are not visible to the sender."""

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
    """Stands for a state that cannot be made, or is not: all that is known of it is whose it is."""

    customer: str | None
    provider: str | None
    maker: str | None

    @property
    def parties(self) -> tuple[str | None, str | None]:
        return self.customer, self.provider


def placeholder_of(damaged: Unreadable) -> Versioned[Any]:
    """A state with the parties, or the maker, of what is damaged, by which a scope decides whether it is reached."""
    return placeholder_of_parties(damaged.parties, damaged.maker)


def placeholder_of_parties(
    parties: tuple[str | None, str | None], maker: str | None = None
) -> Versioned[Any]:
    """Stands for the state of an aggregate of which no more is known than whose it is."""
    return Versioned(PartiesOnly("", *parties, maker), 0, 0, datetime.fromtimestamp(0, UTC))


def require_visible(permits: Permits | None, stream: str, versioned: Versioned[Any] | None) -> None:
    """Raises NotFound where the sender does not reach what is there: it does not exist for the sender."""
    if permits is not None and versioned is not None and not permits(versioned):
        raise NotFound.of(stream)


async def load_answered_state(
    store: Store, stream: str, version: int, before: int, permits: Permits | None
) -> Versioned[Any]:
    """The state at a version, which an earlier answer to a sender showed, for who reached it then or at the version
    before the command: a worker gets the answer to what ended its claim again.

    Raises:
        NotFound, Forbidden: the sender reached neither, or might not do this with it.
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
    """Raises what is wrong, unless the sender does not reach the stream: then it is as if it were not there. What may
    have to be created is said to be damaged in any case.
    """
    own, permits = stream == message.stream, message.permits
    creates = isinstance(message.command, Creation) is own
    concealable = own or stream.startswith(OWNED)
    if creates or permits is None or not concealable or permits(placeholder_of(damaged)):
        raise damaged
