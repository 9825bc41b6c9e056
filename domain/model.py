"""The words every aggregate is written in: values, commands, events, and what may go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from domain.errors import AlreadyExists, NotFound, UnknownReference
from domain.json_forms import Time
from domain.sealing import holds_sealed


class Value(BaseModel):
    """A frozen, strict value; snake_case inside, camelCase on the wire; unknown members are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        ser_json_inf_nan="constants",
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **how: Any) -> Self:
        """From the wire, which knows members by their camelCase names alone."""
        return super().model_validate_json(json_data, by_alias=True, by_name=False, **how)


@dataclass(frozen=True)
class State:
    """An aggregate or a part of one. Changed only by `evolve`, which copies.

    Deliberately without slots: `dataclasses.replace` of a slotted state with 34 fields costs 34 µs,
    copying its `__dict__` 2 µs, and every event of the log pays it.
    """

    @classmethod
    def make(cls, **members: object) -> Self:
        """The same as the constructor, in an eighth of the time. Members whose default a factory makes must be given."""
        kind: Any = cls
        new = object.__new__(cls)
        object.__setattr__(new, "__dict__", {**_blank(kind), **members})
        return new

    def evolve(self, **changes: object) -> Self:
        """The same state with `changes`; nothing is validated, as what happened has happened."""
        new = object.__new__(type(self))
        object.__setattr__(new, "__dict__", {**self.__dict__, **changes})
        return new


@cache
def _blank(kind: Any) -> dict[str, Any]:
    """All members of a kind of state in their order, in which equal states are stored: defaults, or None."""
    return {field.name: None for field in fields(kind)} | defaults(kind)


@cache
def defaults(kind: type[Any]) -> dict[str, Any]:
    """The members of a kind of state that have a default, which is not made by a factory."""
    return {field.name: field.default for field in fields(kind) if field.default is not MISSING}


@dataclass(frozen=True)
class Aggregate(State):
    """The state that the events of one stream lead to."""

    id: str

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """The customer and the provider that every event of this stream names."""
        return None, None

    def require_worker(self, worker: str) -> None:
        """Raises LeaseLost where a worker that names itself does not hold this aggregate."""

    @property
    def weight(self) -> int:
        """How many parts it has, each of which takes a kilobyte or two of memory."""
        return 1


S = TypeVar("S", bound=Aggregate)

LARGE_CONTENT = 64 * 1024
"""Bytes of content that take as much room in a cache as one more part."""
CACHED_PARTS = 8_192
"""Room for the states of one cache: some 16 MB."""


class Context(NamedTuple):
    """What a command may know besides its state: time, actor, rights, chance, other states.

    `now` is the time of recording, `when` the time the client says it happened (else `now`); `stream` is its own.
    """

    now: datetime
    when: datetime
    by: str
    new_id: Callable[[str], str]
    random: Callable[[], float]
    importing: bool
    states: Mapping[str, Versioned[Any] | None]
    stream: str

    def state(self, stream: str) -> Any:
        """The state of a stream that the command `reads`; None where there is no such aggregate."""
        versioned = self.states[stream]
        return versioned.state if versioned else None

    def require(self, field: str, kind: str, identity: str) -> Any:
        """The state of the aggregate that `field` of a command names; the command `reads` it.

        Raises:
            UnknownReference: there is no such aggregate.
        """
        state = self.state(f"{kind}/{identity}")
        if state is None:
            raise UnknownReference(f"There is no {kind} `{identity}`.", field=field)
        return state


class Event(Value):
    """Something that happened to one aggregate. `type` is its stored and its public name, for ever.
    `sealed`: a field is, so it needs the data key of its stream; one that `erases` destroys that.
    """

    type: ClassVar[str]
    sealed: ClassVar[bool] = False
    erases: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.sealed = holds_sealed(cls)

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """Customer and provider, where this event begins a stream that has them."""
        return None, None

    def apply(self, state: Any, recorded: Recorded) -> Any:
        """The state afterwards. Never refuses: checks belong in `Command.decide`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class OtherStreamEvent:
    """An event that a command records in a stream other than its own, in the same commit."""

    stream: str
    event: Event


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A log line that a command adds to its own stream, in the same commit. It is no event: it has no
    position, changes no state, and its `content` is stored sealed.
    """

    occurred_at: datetime
    level: str
    step: str | None
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HeartbeatEntry:
    """A heartbeat of the worker of a stream. It is no event; the last one is kept beside the log."""

    at: datetime


Recordable = Event | OtherStreamEvent | LogEntry | HeartbeatEntry
"""What a command may lead to."""


class Command(Value, Generic[S]):
    """A wish to change one aggregate. `wire_name` is what `POST /commands` calls it.

    `occurred_at` is when it happened by the client's clock, where that differs from now.
    """

    wire_name: ClassVar[str]

    occurred_at: Time | None = None

    def reads(self, state: S | None, states: Mapping[str, Versioned[Any] | None]) -> Iterable[str]:
        """The other streams that `decide` will ask for, as far as the states at hand can tell."""
        return ()

    def decide(self, state: S, context: Context) -> Iterator[Recordable]:
        """The events that follow, none if nothing changes. Raises a `DomainError` to refuse."""
        raise NotImplementedError

    def outcome(self, state: S | None, context: Context) -> list[Recordable]:
        """`decide` on an aggregate that must exist.

        Raises:
            NotFound: there is no such aggregate.
        """
        if state is None:
            raise NotFound.of(context.stream)
        return list(self.decide(state, context))


class Creation(Command[S]):
    """A command that begins a stream."""

    def create(self, context: Context) -> Iterator[Recordable]:
        """The first events of the stream."""
        raise NotImplementedError

    def outcome(self, state: S | None, context: Context) -> list[Recordable]:
        """`create` on an aggregate that must not exist.

        Raises:
            AlreadyExists: the identity is taken.
        """
        if state is not None:
            raise AlreadyExists
        return list(self.create(context))


class Recorded(NamedTuple):
    """The envelope: one event, where it stands, when and through whom it came.

    `version` is its place in its stream, `position` its place in the whole log, both from 1;
    `occurred_at` is the time a client gave, `at` the time it was recorded (never falling in the log),
    `size` the bytes that the event takes in the log.
    """

    stream: str
    version: int
    position: int
    at: datetime
    event: Event
    by: str
    correlation: str | None = None
    causation: str | None = None
    customer: str | None = None
    provider: str | None = None
    occurred_at: datetime | None = None
    size: int = 0

    @property
    def when(self) -> datetime:
        """The time that durations and analytics use."""
        return self.occurred_at or self.at


class Versioned(NamedTuple, Generic[S]):
    """A state with the place of its last event in its stream, in the log, and in time.

    `size` is about how many bytes it takes: those of the snapshot and the events it was made from.
    """

    state: S
    version: int
    position: int
    at: datetime
    size: int = 0

    @property
    def weight(self) -> int:
        """The room it takes in a cache: one for each part, and more for large content.

        Small events add nothing: of a thousand reports of progress the state keeps one.
        """
        return self.state.weight + self.size // LARGE_CONTENT


def replay(versioned: Versioned[Any] | None, events: Iterable[Recorded]) -> Versioned[Any] | None:
    """Fold `events`, in order, onto `versioned`."""
    state, size = (versioned.state, versioned.size) if versioned else (None, 0)
    last = None
    for last in events:
        state = last.event.apply(state, last)
        size += last.size
    return (
        versioned if last is None else Versioned(state, last.version, last.position, last.at, size)
    )


def aggregate_id(stream: str) -> str:
    """`exec_1` of `execution/exec_1`."""
    return stream.partition("/")[2]
