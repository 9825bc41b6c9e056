"""The base classes of all aggregates: values, states, events and commands, and the envelope of an event."""

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
    """A frozen, strict model. Its fields are snake_case in Python, and camelCase in JSON; unknown members are refused."""

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
        """Validate JSON, in which members have their camelCase names only."""
        return super().model_validate_json(json_data, by_alias=True, by_name=False, **how)


@dataclass(frozen=True)
class State:
    """An aggregate or a part of one. It is changed only by `evolve`, which copies it.

    Deliberately without slots: `dataclasses.replace` of a slotted state with 34 fields takes 34 µs, copying its `__dict__`
    2 µs, and every event of the log does that.
    """

    @classmethod
    def make(cls, **members: object) -> Self:
        """Make a state in an eighth of the time of the constructor. Members with a default factory must be given."""
        kind: Any = cls
        new = object.__new__(cls)
        object.__setattr__(new, "__dict__", {**_blank(kind), **members})
        return new

    def evolve(self, **changes: object) -> Self:
        """A copy of the state with `changes`, which are not validated, as an event is never refused."""
        new = object.__new__(type(self))
        object.__setattr__(new, "__dict__", {**self.__dict__, **changes})
        return new


@cache
def _blank(kind: Any) -> dict[str, Any]:
    """All members of a class of states, as defaults or None, in the order of its fields: equal states are stored as equal bytes."""
    return {field.name: None for field in fields(kind)} | defaults(kind)


@cache
def defaults(kind: type[Any]) -> dict[str, Any]:
    """The members of a class of states that have a default, without those with a default factory."""
    return {field.name: field.default for field in fields(kind) if field.default is not MISSING}


@dataclass(frozen=True)
class Aggregate(State):
    """The state that the events of a stream lead to."""

    id: str

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """The customer and the provider that every event of this stream names."""
        return None, None

    def require_worker(self, worker: str) -> None:
        """Check that a worker holds the claim of this aggregate. Raises LeaseLost where it does not."""

    @property
    def weight(self) -> int:
        """The number of its parts, each of which takes one or two kilobytes of memory."""
        return 1


S = TypeVar("S", bound=Aggregate)

LARGE_CONTENT = 64 * 1024
"""Bytes of content that weigh as much in a cache as one part."""
CACHED_PARTS = 8_192
"""The capacity of a cache of states in parts, some 16 MB."""


class Context(NamedTuple):
    """The input of `decide` besides the state: time, actor, rights, randomness, other states.

    `now`: the time of recording; `when`: the time that the client gave, or `now`; `by`: the actor; `importing`: whether the
    sender has the right `import`; `states`: the states of the streams that the command `reads`; `stream`: its own stream.
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
        """The state of a stream that the command `reads`; None where the stream does not exist."""
        versioned = self.states[stream]
        return versioned.state if versioned else None

    def require(self, field: str, kind: str, identity: str) -> Any:
        """The state of an aggregate that `field` of the command names, and that the command `reads`.

        Raises:
            UnknownReference: there is no such aggregate.
        """
        state = self.state(f"{kind}/{identity}")
        if state is None:
            raise UnknownReference(f"There is no {kind} `{identity}`.", field=field)
        return state


class Event(Value):
    """Something that happened to one aggregate.

    `type`: its stored and public name, which never changes; `sealed`: it has a sealed or secret field, so that encoding it
    needs the data key of its stream; `erases`: its commit destroys that data key; `snapshot`: the state after it is stored.
    """

    type: ClassVar[str]
    sealed: ClassVar[bool] = False
    erases: ClassVar[bool] = False
    snapshot: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.sealed = holds_sealed(cls)

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """The customer and the provider, if this event begins a stream with parties."""
        return None, None

    def apply(self, state: Any, recorded: Recorded) -> Any:
        """The state after this event. It never refuses: checks belong in `Command.decide`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class OtherStreamEvent:
    """An event that a command records in a stream other than its own, in the same commit."""

    stream: str
    event: Event


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A log line that a command adds to its own stream, in the same commit; its `content` is stored sealed. It is no event."""

    occurred_at: datetime
    level: str
    step: str | None
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HeartbeatEntry:
    """A heartbeat of the worker of an execution. It is no event; only the last one is stored, beside the log."""

    at: datetime


Recordable = Event | OtherStreamEvent | LogEntry | HeartbeatEntry
"""The possible outcomes of a command."""


class Command(Value, Generic[S]):
    """A request to change one aggregate. `wire_name` is its name in `POST /commands`.

    `occurred_at`: the time by the client's clock, if it differs from the time of recording.
    """

    wire_name: ClassVar[str]

    occurred_at: Time | None = None

    def reads(self, state: S | None, states: Mapping[str, Versioned[Any] | None]) -> Iterable[str]:
        """The other streams whose states `decide` needs, as far as the loaded `states` show them."""
        return ()

    def decide(self, state: S, context: Context) -> Iterator[Recordable]:
        """Yield the events that the command leads to; none if nothing changes. Raise a `DomainError` to refuse it."""
        raise NotImplementedError

    def outcome(self, state: S | None, context: Context) -> list[Recordable]:
        """The result of `decide` on an aggregate that must exist.

        Raises:
            NotFound: there is no such aggregate.
        """
        if state is None:
            raise NotFound.of(context.stream)
        return list(self.decide(state, context))


class Creation(Command[S]):
    """A command that begins a stream."""

    def create(self, context: Context) -> Iterator[Recordable]:
        """Yield the first events of the stream."""
        raise NotImplementedError

    def outcome(self, state: S | None, context: Context) -> list[Recordable]:
        """The result of `create` for an aggregate that must not exist.

        Raises:
            AlreadyExists: the identity is taken.
        """
        if state is not None:
            raise AlreadyExists
        return list(self.create(context))


class Recorded(NamedTuple):
    """The envelope of an event: its stream, version, position, time and actor.

    `version`: its place in its stream, from 1; `position`: its place in the whole log, from 1; `at`: the time of recording,
    which never falls in the log; `occurred_at`: the time that a client gave; `size`: its bytes in the log.
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
    """A state with the version, position and time of its last event.

    `size`: the bytes of the snapshot and the events from which it was made, as an estimate of its memory.
    """

    state: S
    version: int
    position: int
    at: datetime
    size: int = 0

    @property
    def weight(self) -> int:
        """Its weight in a cache: 1 for each part, and more for large content.

        Small events add nothing, as a state does not grow with them: of a thousand reports of progress it has the last one.
        """
        return self.state.weight + self.size // LARGE_CONTENT


def replay(versioned: Versioned[Any] | None, events: Iterable[Recorded]) -> Versioned[Any] | None:
    """Fold events, in order, onto a state, or onto None; return the state after them."""
    state, size = (versioned.state, versioned.size) if versioned else (None, 0)
    last = None
    for last in events:
        state = last.event.apply(state, last)
        size += last.size
    return (
        versioned if last is None else Versioned(state, last.version, last.position, last.at, size)
    )


def aggregate_id(stream: str) -> str:
    """The id of the aggregate of a stream: `exec_1` of `execution/exec_1`."""
    return stream.partition("/")[2]
