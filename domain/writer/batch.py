"""One batch of commands, decided in order on loaded states. The batch does no I/O and reads no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from domain.errors import (
    AlreadyExists,
    DomainError,
    Erased,
    Forbidden,
    Overtaken,
    Taken,
    TooLarge,
    Unreadable,
)
from domain.eventlog.codec import (
    Codec,
    EventRow,
    LineRow,
    Snapshot,
    encode_line,
    is_snapshot_due,
)
from domain.eventlog.encryption import DataKey, make_destroyed_key
from domain.eventlog.idempotency import Reply, outcome_of, refusal
from domain.eventlog.keyring import Keyring
from domain.model import (
    Context,
    Creation,
    Event,
    HeartbeatEntry,
    LogEntry,
    OtherStreamEvent,
    Recorded,
    Versioned,
    aggregate_id,
)
from domain.writer.conditions import check_conditions, require_not_overtaken
from domain.writer.message import Message
from domain.writer.visible_states import VisibleStates, require_readable, require_visible

STREAM_SIZE_LIMIT = 32 * 1024 * 1024
"""Bytes of a stream (its snapshot and later events) above which it accepts only small commands, such as its end."""
SMALL_COMMAND = 16 * 1024
"""Bytes of events up to which a command is small."""
TOO_LARGE_DETAIL = (
    "This holds as much as one can: keep large content elsewhere and name it here. "
    "Small commands are still taken."
)


class Repeat(NamedTuple):
    """An earlier answer to give again: the state of `stream` at `version`; before the command it was at version `before`."""

    stream: str
    version: int
    before: int
    created: bool


class Decided(NamedTuple):
    """The outcome of an accepted message: the state after it. `recorded`: it led to an event or a log line."""

    versioned: Versioned[Any]
    created: bool
    recorded: bool


class NotLoaded(Exception):
    """A message reads a stream that this batch has not loaded: the next batch takes the message."""


Loaded = dict[str, Versioned[Any] | None]


@dataclass(slots=True)
class Batch:
    """Decides messages one by one, and collects the rows that they lead to, for one append."""

    position: int
    now: datetime
    states: Loaded
    replies: dict[str, Reply]
    codec: Codec
    keyring: Keyring
    new_id: Callable[[str], str]
    random: Callable[[], float]
    damaged: Mapping[str, Unreadable] = field(default_factory=dict)
    """The errors of the streams that cannot be read; `states` has no state of them."""
    latest: Mapping[str, int] = field(default_factory=dict)
    """The position of the last event of each type that an `unless` of a message names."""
    rows: list[EventRow] = field(default_factory=list)
    lines: list[LineRow] = field(default_factory=list)
    heartbeats: dict[str, datetime] = field(default_factory=dict)
    """Times of heartbeats, by the ids of their aggregates."""
    erased: set[str] = field(default_factory=set)
    """Streams whose data keys the batch destroys."""
    new_replies: list[Reply] = field(default_factory=list)
    due_snapshots: set[str] = field(default_factory=set)
    size: int = 0
    """The bytes of the events and log lines so far."""

    def take(self, message: Message) -> Decided | Repeat:
        """Decide one message.

        Raises:
            DomainError: the message is refused, or reads a damaged stream; only its idempotency key keeps the refusal.
            NotLoaded: `states` lacks a stream that the message reads.
        """
        if message.idempotency is None:
            return self._decide(message)
        key, fingerprint = message.idempotency
        if (reply := self.replies.get(key)) is not None:
            return repeat_of(reply, fingerprint)
        former = self.states.get(message.stream)
        try:
            decided = self._decide(message)
        except (Unreadable, Overtaken, Taken):
            raise  # not stored: the same request may succeed once the cause has passed
        except DomainError as error:
            self._add_reply(key, fingerprint, refusal(error))
            raise
        outcome = {
            "stream": message.stream,
            "version": decided.versioned.version,
            "before": former.version if former else 0,
            "created": decided.created,
        }
        self._add_reply(key, fingerprint, outcome)
        return decided

    def snapshots(self) -> list[Snapshot]:
        """The snapshots that are due: one every 500 versions of a stream, and one after an event that asks for it."""
        return [self._take_snapshot(stream) for stream in self.due_snapshots - self.erased]

    def _take_snapshot(self, stream: str) -> Snapshot:
        versioned = self.states[stream]
        assert versioned is not None
        snapshot = self.codec.take_snapshot(stream, versioned, self.keyring.get_or_create(stream))
        self.states[stream] = versioned._replace(size=len(snapshot.state))
        return snapshot

    def _decide(self, message: Message) -> Decided:
        versioned, context = self._prepare(message)
        outcome = message.command.outcome(versioned.state if versioned else None, context)
        changed: Loaded = {}
        rows: list[EventRow] = []
        lines: list[LineRow] = []
        heartbeats: dict[str, datetime] = {}
        erased, due = set[str](), set[str]()
        for recordable in outcome:
            if isinstance(recordable, LogEntry):
                lines.append(self._encode_line(message.stream, recordable))
                continue
            if isinstance(recordable, HeartbeatEntry):
                heartbeats[aggregate_id(message.stream)] = recordable.at
                continue
            stream, event = _stream_and_event(recordable, message.stream)
            before = changed[stream] if stream in changed else self.states.get(stream)
            if before is not None and stream != message.stream:
                raise AlreadyExists  # the event begins a stream that exists, but not for the sender
            recorded = self._envelop(message, stream, before, event, len(rows))
            key = self._sealing_key(stream) if event.sealed else None
            row = self.codec.encode(recorded, key)
            rows.append(row)
            changed[stream] = after = _apply(before, recorded, len(row.data))
            if is_snapshot_due(recorded, after.size):
                due.add(stream)
            if event.erases:
                changed[stream] = self.codec.close(stream, after)
                erased.add(stream)
        if versioned is None:
            _require_permitted(message, changed.get(message.stream))
        self._adopt(rows, changed)
        self.erased |= erased
        self.due_snapshots |= due
        self.lines += lines
        self.heartbeats |= heartbeats
        self.size += sum(len(line.sealed) for line in lines)
        after_command = changed.get(message.stream, versioned)
        assert after_command is not None
        return Decided(after_command, versioned is None, recorded=bool(rows or lines))

    def _prepare(self, message: Message) -> tuple[Versioned[Any] | None, Context]:
        own = message.stream
        states: Mapping[str, Versioned[Any] | None] = self.states
        self._require_loaded(message, own)
        versioned = states[own]
        for stream in message.command.reads(versioned.state if versioned else None, states):
            self._require_loaded(message, stream)
        if message.permits is not None:
            if not isinstance(message.command, Creation):
                require_visible(message.permits, own, versioned)
            states = VisibleStates(states, message.permits)
        check_conditions(message, versioned, self.now)
        if message.unless is not None:
            require_not_overtaken(message.unless, self.latest, self.rows)
        if message.worker is not None and versioned is not None:
            versioned.state.require_worker(message.worker)
        when = message.command.occurred_at or self.now
        return versioned, Context(
            self.now, when, message.by, self.new_id, self.random, message.importing, states, own
        )

    def _require_loaded(self, message: Message, stream: str) -> None:
        if (error := self.damaged.get(stream)) is not None:
            require_readable(message, stream, error)
        if stream not in self.states:
            raise NotLoaded

    def _envelop(
        self, message: Message, stream: str, before: Versioned[Any] | None, event: Event, nth: int
    ) -> Recorded:
        customer, provider = before.state.parties if before else event.parties
        return Recorded(
            stream,
            before.version + 1 if before else 1,
            self.position + nth + 1,
            self.now,
            event,
            message.by,
            message.correlation,
            message.causation,
            customer,
            provider,
            message.command.occurred_at,
        )

    def _sealing_key(self, stream: str) -> DataKey:
        if stream in self.erased:
            return make_destroyed_key(stream)
        return self.keyring.get_or_create(stream)

    def _encode_line(self, stream: str, entry: LogEntry) -> LineRow:
        """Raises Erased where the stream has no data key: its first event made one, so an erasure destroyed it."""
        key = self.keyring.get_stored_or_new(stream)
        if key is None or stream in self.erased:
            raise Erased
        return encode_line(stream, entry, self.now, key)

    def _adopt(self, rows: list[EventRow], changed: Loaded) -> None:
        """Add the rows and states of one message. A failure before leaves the batch unchanged. Raises TooLarge."""
        size = sum(len(row.data) for row in rows)
        if size > SMALL_COMMAND and any(
            versioned and versioned.size > STREAM_SIZE_LIMIT for versioned in changed.values()
        ):
            raise TooLarge(TOO_LARGE_DETAIL)
        self.rows += rows
        self.position += len(rows)
        self.size += size
        self.states.update(changed)

    def _add_reply(self, key: str, fingerprint: str, outcome: dict[str, Any]) -> None:
        reply = Reply(key, fingerprint, orjson.dumps(outcome).decode())
        self.replies[key] = reply
        self.new_replies.append(reply)


def _require_permitted(message: Message, created: Versioned[Any] | None) -> None:
    permits = message.permits
    if permits is not None and created is not None and not permits(created):
        raise Forbidden("What this would create is not yours: name yourself as its party.")


def streams_needed(message: Message, states: Loaded) -> list[str]:
    """The streams that a message needs: its own, and those that its command reads by the loaded states."""
    versioned = states.get(message.stream)
    return [message.stream, *message.command.reads(versioned.state if versioned else None, states)]


def _stream_and_event(recordable: Event | OtherStreamEvent, own: str) -> tuple[str, Event]:
    if isinstance(recordable, OtherStreamEvent):
        return recordable.stream, recordable.event
    return own, recordable


def _apply(before: Versioned[Any] | None, recorded: Recorded, size: int) -> Versioned[Any]:
    state, size_before = (before.state, before.size) if before else (None, 0)
    after = recorded.event.apply(state, recorded)
    return Versioned(after, recorded.version, recorded.position, recorded.at, size_before + size)


def repeat_of(reply: Reply, fingerprint: str) -> Repeat:
    """The answer that a stored reply names.

    Raises:
        DomainError: as `outcome_of`: the stored refusal, or the key was used for another request.
    """
    outcome = outcome_of(reply, fingerprint)
    version: int = outcome["version"]
    before: int = outcome.get("before", version - 1)  # replies of earlier builds lack `before`
    return Repeat(outcome["stream"], version, before, outcome["created"])
