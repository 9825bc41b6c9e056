"""Events, states and log lines as stored, and back. Sealing happens here, before anything is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from os import urandom
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, TypeAdapter

from domain.damage import reason
from domain.errors import Damaged, Erased
from domain.eventlog.encryption import KEY_BYTES, DamagedKey, DataKey, usable
from domain.eventlog.schema_fingerprint import fingerprint
from domain.json_forms import format_time
from domain.model import (
    Aggregate,
    Event,
    LogEntry,
    Recorded,
    Versioned,
    aggregate_id,
    defaults,
)
from domain.sealing import Ciphertext, Opening, Sealing


class Snapshot(NamedTuple):
    """One row of the snapshots: the state after `version` events, sealed fields as tokens.

    `shape` says of which form the state is: a program whose states look otherwise leaves it alone.
    """

    stream: str
    version: int
    position: int
    at: datetime
    state: bytes
    shape: str = ""


class EventRow(NamedTuple):
    """One row of the log: `data` is the event's wire JSON with sealed fields as tokens."""

    position: int
    version: int
    at: datetime
    stream: str
    type: str
    meta: str
    data: bytes


class LineRow(NamedTuple):
    """A row of `log_lines` without its id, which the database gives: 1, 2, 3, … in commit order."""

    execution: str
    occurred_at: datetime
    at: datetime
    level: str
    step: str | None
    sealed: str


UNSEALED_VERSION = 0
"""Tokens name the version they are sealed for; that of a log line is no event's."""
SNAPSHOT_EVERY = 500
"""Versions of a stream from one snapshot to the next."""
SEALED_ONLY = Opening()
NOTHING_OPEN = Sealing(lambda content: _seal(None, 0, content))


def opening(key: DataKey | None) -> Opening:
    """The context that opens what `key` sealed; without a key everything stays sealed."""
    key = usable(key)
    return SEALED_ONLY if key is None else Opening(key.open_or_report)


class Codec:
    """Knows each event by its public name and each state by the kind of its stream."""

    def __init__(
        self, events: Iterable[type[Event]], states: Mapping[str, type[Aggregate]]
    ) -> None:
        self._events = {event.type: event for event in events}
        self._states = {kind: TypeAdapter(state) for kind, state in states.items()}
        self.erasing = frozenset(event.type for event in events if event.erases)
        """The types of events that destroy the key of their stream."""
        self.shape = fingerprint([s.json_schema(by_alias=False) for s in self._states.values()])

    def encode(self, recorded: Recorded, key: DataKey | None) -> EventRow:
        """The row of an event; a type with sealed fields needs the stream's key.

        Raises:
            WrongKey: that key is damaged.
            Erased: it was destroyed, and the event has something to seal.
        """
        event = recorded.event
        if event.sealed and key is not None and (key.destroyed or isinstance(key, DamagedKey)):
            _require_nothing_to_seal(event, key)
        context = Sealing(partial(_seal, key, recorded.version)) if event.sealed else None
        data = event.__pydantic_serializer__.to_json(
            event, by_alias=True, exclude_unset=True, context=context
        )
        return EventRow(
            recorded.position,
            recorded.version,
            recorded.at,
            recorded.stream,
            event.type,
            _meta(recorded),
            data,
        )

    def decode(self, row: EventRow, key: DataKey | None = None) -> Recorded:
        """The event of a row. Without a key its sealed fields stay `Ciphertext`, and so does with one
        what cannot be opened.

        Raises:
            Damaged: its bytes are not what its type says, or this program does not know the type.
        """
        try:
            return self._decode(row, key)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it quotes content
            raise Damaged(
                f"Event {row.version} of {row.stream}, at position {row.position}, cannot be read.",
                reason=reason(error)
                if self.knows(row.type)
                else f"the type {row.type} is not known here",
                stream=row.stream,
                version=row.version,
            ) from None

    def knows(self, type_: str) -> bool:
        """Whether there is an event with this public name."""
        return type_ in self._events

    def _decode(self, row: EventRow, key: DataKey | None) -> Recorded:
        event = self._events[row.type]
        meta = orjson.loads(row.meta)
        occurred_at = meta.get("occurredAt")
        return Recorded(
            row.stream,
            row.version,
            row.position,
            row.at,
            event.__pydantic_validator__.validate_json(
                row.data, strict=False, context=opening(key)
            ),
            meta["by"],
            meta.get("correlation"),
            meta.get("causation"),
            meta.get("customer"),
            meta.get("provider"),
            datetime.fromisoformat(occurred_at) if occurred_at else None,
            len(row.data),
        )

    def take_snapshot(
        self, stream: str, versioned: Versioned[Any], key: DataKey | None
    ) -> Snapshot:
        """A state as a row; what was opened is sealed again."""
        adapter = self._states[stream.partition("/")[0]]
        context = Sealing(partial(_seal, key, versioned.version))
        state = adapter.dump_json(
            versioned.state, by_alias=True, exclude_defaults=True, context=context
        )
        return Snapshot(
            stream, versioned.version, versioned.position, versioned.at, state, self.shape
        )

    def close(self, stream: str, versioned: Versioned[Any]) -> Versioned[Any]:
        """A state whose sealed fields nobody can open."""
        lost = DataKey(urandom(KEY_BYTES), stream)
        return self.restore(self.take_snapshot(stream, versioned, lost))._replace(
            size=versioned.size
        )

    def restore(self, row: Snapshot, key: DataKey | None = None) -> Versioned[Any]:
        """The state of a row. Without a key its sealed fields stay `Ciphertext`.

        Raises:
            Damaged: its bytes are no such state.
        """
        try:
            adapter = self._states[row.stream.partition("/")[0]]
            state = adapter.validate_json(row.state, strict=False, context=opening(key))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it quotes content
            raise Damaged(
                f"The state of {row.stream} that is kept at version {row.version} cannot be read.",
                reason=reason(error),
                stream=row.stream,
                version=row.version,
            ) from None
        return Versioned(state, row.version, row.position, row.at, len(row.state))


def _seal(key: DataKey | None, version: int, content: bytes) -> str:
    if key is None:
        raise LookupError("a sealed field needs the data key of its stream")
    return key.seal(content, version)


def _require_nothing_to_seal(event: Event, key: DataKey) -> None:
    """Before it is encoded: pydantic would wrap what is raised while it serialises."""
    if isinstance(key, DamagedKey):
        raise key.error()
    found: list[bytes] = []

    def note(content: bytes) -> str:
        found.append(content)
        return ""

    event.__pydantic_serializer__.to_json(event, exclude_unset=True, context=Sealing(note))
    if found:
        raise Erased


def _meta(recorded: Recorded) -> str:
    meta = {"by": recorded.by}
    if recorded.correlation:
        meta["correlation"] = recorded.correlation
    if recorded.causation:
        meta["causation"] = recorded.causation
    if recorded.customer:
        meta["customer"] = recorded.customer
    if recorded.provider:
        meta["provider"] = recorded.provider
    if recorded.occurred_at:
        meta["occurredAt"] = format_time(recorded.occurred_at)
    return orjson.dumps(meta).decode()


def to_sealed_json(value: Any) -> bytes:
    """JSON of what was not opened: each `Ciphertext` as its token, for `open_json`."""
    return orjson.dumps(value, _as_shown)


def encode_state(state: Aggregate) -> bytes:
    """`Codec.take_snapshot` of a state that was decoded without a key, in a fraction of the time.

    It seals nothing: what was opened stands open in it.
    """
    kind: Any = type(state)
    members = dict(state.__dict__)
    for name, default in defaults(kind).items():
        if members[name] == default:
            del members[name]
    return orjson.dumps(members, _as_stored)


def _as_shown(value: object) -> Any:
    return exact(value) if isinstance(value, Decimal) else _as_stored(value)


def exact(amount: Decimal) -> orjson.Fragment:
    """An amount with all its digits, which no float has."""
    return orjson.Fragment(format(amount, "f"))


def _as_stored(value: object) -> Any:
    if isinstance(value, Ciphertext):
        return {value.mark: value.token}
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, timedelta):
        return _iso_duration(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True, context=NOTHING_OPEN)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _iso_duration(value: timedelta) -> str:
    """To the microsecond, which seconds as a fraction would not always be."""
    seconds, rest = divmod(abs(value) // timedelta(microseconds=1), 1_000_000)
    return f"{'-' if value < timedelta() else ''}PT{seconds}.{rest:06}S"


def encode_line(stream: str, entry: LogEntry, at: datetime, key: DataKey) -> LineRow:
    """The row of a log line that was recorded at a time."""
    sealed = key.seal(orjson.dumps(entry.content), UNSEALED_VERSION)
    return LineRow(aggregate_id(stream), entry.occurred_at, at, entry.level, entry.step, sealed)
