"""Encodes events, states and log lines as rows, and decodes them. Sealed fields are encrypted here, before they are stored."""

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
    """A row of the table `snapshots`: the state after `version` events, its sealed fields as tokens.

    `shape` is the fingerprint of the state classes that wrote it; a program with another fingerprint does not read it.
    """

    stream: str
    version: int
    position: int
    at: datetime
    state: bytes
    shape: str = ""


class EventRow(NamedTuple):
    """A row of the log: `data` is the event as wire JSON, with its sealed fields as tokens."""

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
"""The version in the tokens of log lines. Other tokens have the version of their event, from 1."""
SNAPSHOT_EVERY = 500
"""Versions of a stream from one snapshot to the next."""
SMALL_STATE = 16 * 1024
"""Bytes of a stream up to which an event may ask for a snapshot. Of a larger state each snapshot costs more than it saves."""
SEALED_ONLY = Opening()
"""The validation context that opens no token."""
ALREADY_SEALED = Sealing(lambda content: _seal(None, 0, content))
"""The serialisation context of content that is sealed already: open content raises LookupError."""


def is_snapshot_due(recorded: Recorded, size: int) -> bool:
    """Whether a snapshot is stored after an event, for a stream of so many bytes."""
    wanted = recorded.event.snapshot and size <= SMALL_STATE
    return wanted or recorded.version % SNAPSHOT_EVERY == 0


def opening(key: DataKey | None) -> Opening:
    """The validation context that opens tokens by `key`; without a key all stay sealed."""
    key = usable(key)
    return SEALED_ONLY if key is None else Opening(key.open_or_report)


class Codec:
    """Encodes and decodes the events of a set of classes, and snapshots of the states of each kind of stream."""

    def __init__(
        self, events: Iterable[type[Event]], states: Mapping[str, type[Aggregate]]
    ) -> None:
        self._events = {event.type: event for event in events}
        self._states = {kind: TypeAdapter(state) for kind, state in states.items()}
        self.erasing = frozenset(event.type for event in events if event.erases)
        """The types of events that destroy the key of their stream."""
        self.shape = fingerprint([s.json_schema(by_alias=False) for s in self._states.values()])

    def encode(self, recorded: Recorded, key: DataKey | None) -> EventRow:
        """Encode an event as a row; `key` is needed for a type with sealed fields.

        Raises:
            WrongKey: the key is damaged.
            Erased: the key was destroyed, and a sealed field of the event is set.
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
        """Decode the event of a row. Fields that `key` does not open, and without a key all sealed fields, stay `Ciphertext`.

        Raises:
            Damaged: the bytes do not fit the type, or the type is unknown to this program.
        """
        try:
            return self._decode(row, key)
        except Exception as error:  # noqa: BLE001 - its text may quote content
            raise Damaged(
                f"Event {row.version} of {row.stream}, at position {row.position}, cannot be read.",
                reason=reason(error)
                if self.knows(row.type)
                else f"the type {row.type} is not known here",
                stream=row.stream,
                version=row.version,
            ) from None

    def knows(self, type_: str) -> bool:
        """Whether there is an event class with this public name."""
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
        """Encode a state as a snapshot; opened fields are sealed again by `key`."""
        adapter = self._states[stream.partition("/")[0]]
        context = Sealing(partial(_seal, key, versioned.version))
        state = adapter.dump_json(
            versioned.state, by_alias=True, exclude_defaults=True, context=context
        )
        return Snapshot(
            stream, versioned.version, versioned.position, versioned.at, state, self.shape
        )

    def close(self, stream: str, versioned: Versioned[Any]) -> Versioned[Any]:
        """A copy of a state whose sealed fields are `Ciphertext` under a random key that is thrown away."""
        random_key = DataKey(urandom(KEY_BYTES), stream)
        return self.restore(self.take_snapshot(stream, versioned, random_key))._replace(
            size=versioned.size
        )

    def restore(self, row: Snapshot, key: DataKey | None = None) -> Versioned[Any]:
        """Decode the state of a snapshot. Without a key its sealed fields stay `Ciphertext`.

        Raises:
            Damaged: the bytes are not a state of that kind of stream.
        """
        try:
            adapter = self._states[row.stream.partition("/")[0]]
            state = adapter.validate_json(row.state, strict=False, context=opening(key))
        except Exception as error:  # noqa: BLE001 - its text may quote content
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
    """Check an event before it is encoded, as pydantic would wrap an exception that is raised while it serialises."""
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
    """Encode a value with sealed content as JSON: each `Ciphertext` as its token, which `open_json` opens, and amounts with
    all their digits.
    """
    return orjson.dumps(value, _to_exact_json)


def encode_state(state: Aggregate) -> bytes:
    """Encode a state that was decoded without a key: the bytes of `Codec.take_snapshot`, in a fraction of the time.

    It encrypts nothing, so opened fields would be stored in the clear.
    """
    kind: Any = type(state)
    members = dict(state.__dict__)
    for name, default in defaults(kind).items():
        if members[name] == default:
            del members[name]
    return orjson.dumps(members, _to_stored_json)


def _to_exact_json(value: object) -> Any:
    return exact(value) if isinstance(value, Decimal) else _to_stored_json(value)


def exact(amount: Decimal) -> orjson.Fragment:
    """An amount as a JSON number with all its digits, which a float may lack."""
    return orjson.Fragment(format(amount, "f"))


def _to_stored_json(value: object) -> Any:
    if isinstance(value, Ciphertext):
        return {value.mark: value.token}
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, timedelta):
        return _iso_duration(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True, context=ALREADY_SEALED)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _iso_duration(value: timedelta) -> str:
    """An ISO 8601 duration, exact to the microsecond; a float of seconds would be rounded."""
    seconds, rest = divmod(abs(value) // timedelta(microseconds=1), 1_000_000)
    return f"{'-' if value < timedelta() else ''}PT{seconds}.{rest:06}S"


def encode_line(stream: str, entry: LogEntry, at: datetime, key: DataKey) -> LineRow:
    """Encode a log line that was recorded at time `at` as a row."""
    sealed = key.seal(orjson.dumps(entry.content), UNSEALED_VERSION)
    return LineRow(aggregate_id(stream), entry.occurred_at, at, entry.level, entry.step, sealed)
