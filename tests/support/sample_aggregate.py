"""A minimal aggregate, for tests of the store and the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, ClassVar

from domain.errors import DomainError
from domain.eventlog.codec import Codec
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.store import Store
from domain.model import (
    Aggregate,
    Command,
    Context,
    Creation,
    Event,
    LogEntry,
    Recordable,
    Recorded,
    Versioned,
)
from domain.sealing import Sealed
from domain.writer.command_bus import Bus
from domain.writer.message import Message

MASTER_KEY = b"k" * 32
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class TooMuch(DomainError):
    """The tally is full."""

    code = "illegal-transition"


@dataclass(frozen=True)
class Tally(Aggregate):
    total: int
    note: Sealed[str] | None = None

    @property
    def parties(self) -> tuple[str | None, str | None]:
        return "customer-1", "provider-1"


class TallyBegun(Event):
    type: ClassVar[str] = "tally.begun"

    @property
    def parties(self) -> tuple[str | None, str | None]:
        return "customer-1", "provider-1"

    def apply(self, state: None, recorded: Recorded) -> Tally:
        return Tally(recorded.stream.partition("/")[2], 0)


class TallyRaised(Event):
    type: ClassVar[str] = "tally.raised"
    amount: int

    def apply(self, state: Tally, recorded: Recorded) -> Tally:
        return state.evolve(total=state.total + self.amount)


class TallyNoted(Event):
    type: ClassVar[str] = "tally.noted"
    sealed: ClassVar[bool] = True
    note: Sealed[str]

    def apply(self, state: Tally, recorded: Recorded) -> Tally:
        return state.evolve(note=self.note)


class TallyErased(Event):
    type: ClassVar[str] = "tally.erased"
    erases: ClassVar[bool] = True

    def apply(self, state: Tally, recorded: Recorded) -> Tally:
        return state


class Begin(Creation[Tally]):
    wire_name: ClassVar[str] = "begin"
    after: str | None = None

    def reads(
        self, state: Tally | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        return [f"tally/{self.after}"] if self.after else []

    def create(self, context: Context) -> Iterator[Recordable]:
        if self.after and context.state(f"tally/{self.after}") is None:
            raise DomainError.again("unknown-reference", "no such tally", {})
        yield TallyBegun()


class Raise(Command[Tally]):
    wire_name: ClassVar[str] = "raise"
    amount: int = 1
    limit: int | None = None

    def decide(self, state: Tally, context: Context) -> Iterator[Recordable]:
        if self.limit is not None and state.total + self.amount > self.limit:
            raise TooMuch
        if self.amount:
            yield TallyRaised(amount=self.amount)


class Note(Command[Tally]):
    wire_name: ClassVar[str] = "note"
    note: str

    def decide(self, state: Tally, context: Context) -> Iterator[Recordable]:
        yield TallyNoted(note=self.note)


class Mutter(Command[Tally]):
    """A command that writes only a log line."""

    wire_name: ClassVar[str] = "mutter"

    def decide(self, state: Tally, context: Context) -> Iterator[Recordable]:
        yield LogEntry(context.now, "info", None, {"message": "hm"})


class Erase(Command[Tally]):
    wire_name: ClassVar[str] = "erase"

    def decide(self, state: Tally, context: Context) -> Iterator[Recordable]:
        yield TallyErased()


class Stumble(Command[Tally]):
    """A command with a bug."""

    wire_name: ClassVar[str] = "stumble"

    def decide(self, state: Tally, context: Context) -> Iterator[Recordable]:
        yield TallyRaised(amount=1)
        raise ZeroDivisionError


def codec() -> Codec:
    return Codec([TallyBegun, TallyRaised, TallyNoted, TallyErased], {"tally": Tally})


def keyring() -> Keyring:
    return Keyring(Vault(MASTER_KEY))


def store(conninfo: str) -> Store:
    return Store(conninfo, "executions", codec(), keyring())


def clock() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@asynccontextmanager
async def running_bus(
    store: Store, limit: int = 10_000, clock: Callable[[], datetime] = clock
) -> AsyncIterator[Bus]:
    numbers = count(1)
    bus = Bus(store, clock, lambda kind: f"{kind}_{next(numbers)}", lambda: 0.5, limit)
    await store.open()
    bus.start()
    try:
        yield bus
    finally:
        await bus.stop()
        await store.close()


def message(tally: str, command: Command[Tally], **conditions: Any) -> Message:
    return Message(f"tally/{tally}", command, "tester", **conditions)
