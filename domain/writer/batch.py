"""One batch of commands, decided in order on the states at hand. No I/O, no clock: all is given."""

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
    SNAPSHOT_EVERY,
    Codec,
    EventRow,
    LineRow,
    Snapshot,
    encode_line,
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
"""Bytes that one stream may hold before it takes only what is small, such as its end."""
SMALL_COMMAND = 16 * 1024
TOO_LARGE_DETAIL = (
    "This holds as much as one can: keep large content elsewhere and name it here. "
    "Small commands are still taken."
)


class Repeat(NamedTuple):
    """The answer was given before: it is the state of `stream` at `version`, and `before` the command it was at another."""

    stream: str
    version: int
    before: int
    created: bool


class Decided(NamedTuple):
    """What became of a message that was not refused; `recorded`: it led to an event or a log line."""

    versioned: Versioned[Any]
    created: bool
    recorded: bool


class NotLoaded(Exception):
    """A message reads a stream that this batch has not loaded: it belongs in the next one."""


Loaded = dict[str, Versioned[Any] | None]


@dataclass(slots=True)
class Batch:
    """Decides messages one by one; what they lead to is collected to be written in one go."""

    position: int
    now: datetime
    states: Loaded
    replies: dict[str, Reply]
    codec: Codec
    keyring: Keyring
    new_id: Callable[[str], str]
    random: Callable[[], float]
    damaged: Mapping[str, Unreadable] = field(default_factory=dict)
    """What is wrong with the streams that cannot be read; their states are missing."""
    latest: Mapping[str, int] = field(default_factory=dict)
    """Positions of the last events of the types that messages ask about."""
    rows: list[EventRow] = field(default_factory=list)
    lines: list[LineRow] = field(default_factory=list)
    heartbeats: dict[str, datetime] = field(default_factory=dict)
    """Times of heartbeats, by the ids of their aggregates."""
    erased: set[str] = field(default_factory=set)
    """Streams whose keys are destroyed by what was decided so far."""
    new_replies: list[Reply] = field(default_factory=list)
    due_snapshots: set[str] = field(default_factory=set)
    size: int = 0
    """The bytes of the events and log lines so far."""

    def take(self, message: Message) -> Decided | Repeat:
        """Decide one message.

        Raises:
            DomainError: it is refused, or reads a damaged stream; nothing of it remains, except the
                refusal under its key.
            NotLoaded: a stream it reads is missing from `states`.
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
            raise  # once that is mended, or with another in its place, the same request may be done
        except DomainError as error:
            self._remember(key, fingerprint, refusal(error))
            raise
        outcome = {
            "stream": message.stream,
            "version": decided.versioned.version,
            "before": former.version if former else 0,
            "created": decided.created,
        }
        self._remember(key, fingerprint, outcome)
        return decided

    def snapshots(self) -> list[Snapshot]:
        """The states worth keeping: one every 500 versions of a stream."""
        return [self._frozen(stream) for stream in self.due_snapshots - self.erased]

    def _frozen(self, stream: str) -> Snapshot:
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
        erased: set[str] = set()
        for happened in outcome:
            if isinstance(happened, LogEntry):
                lines.append(self._line(message.stream, happened))
                continue
            if isinstance(happened, HeartbeatEntry):
                heartbeats[aggregate_id(message.stream)] = happened.at
                continue
            stream, event = _stream_and_event(happened, message.stream)
            before = changed[stream] if stream in changed else self.states.get(stream)
            if before is not None and stream != message.stream:
                raise AlreadyExists  # it begins that stream, and the sender does not see what is there
            recorded = self._record(message, stream, before, event, len(rows))
            key = self._sealing_key(stream) if event.sealed else None
            row = self.codec.encode(recorded, key)
            rows.append(row)
            changed[stream] = after = _apply(before, recorded, len(row.data))
            if event.erases:
                changed[stream] = self.codec.close(stream, after)
                erased.add(stream)
        if versioned is None:
            _require_permitted(message, changed.get(message.stream))
        self._adopt(rows, changed)
        self.erased |= erased
        self.lines += lines
        self.heartbeats |= heartbeats
        self.size += sum(len(line.sealed) for line in lines)
        settled = changed.get(message.stream, versioned)
        assert settled is not None
        return Decided(settled, versioned is None, recorded=bool(rows or lines))

    def _prepare(self, message: Message) -> tuple[Versioned[Any] | None, Context]:
        own = message.stream
        states: Mapping[str, Versioned[Any] | None] = self.states
        self._require(message, own)
        versioned = states[own]
        for stream in message.command.reads(versioned.state if versioned else None, states):
            self._require(message, stream)
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

    def _require(self, message: Message, stream: str) -> None:
        if (error := self.damaged.get(stream)) is not None:
            require_readable(message, stream, error)
        if stream not in self.states:
            raise NotLoaded

    def _record(
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

    def _line(self, stream: str, entry: LogEntry) -> LineRow:
        """Raises Erased where the key is missing: it is made with the first event, so it was destroyed."""
        key = self.keyring.get_stored_or_new(stream)
        if key is None or stream in self.erased:
            raise Erased
        return encode_line(stream, entry, self.now, key)

    def _adopt(self, rows: list[EventRow], changed: Loaded) -> None:
        """Adopt the outcome of one message. Until here, a failure changes nothing.

        Raises:
            TooLarge: a stream would hold more than can be loaded in good time.
        """
        size = sum(len(row.data) for row in rows)
        if size > SMALL_COMMAND and any(
            versioned and versioned.size > STREAM_SIZE_LIMIT for versioned in changed.values()
        ):
            raise TooLarge(TOO_LARGE_DETAIL)
        self.rows += rows
        self.position += len(rows)
        self.size += size
        self.states.update(changed)
        self.due_snapshots.update(row.stream for row in rows if row.version % SNAPSHOT_EVERY == 0)

    def _remember(self, key: str, fingerprint: str, outcome: dict[str, Any]) -> None:
        reply = Reply(key, fingerprint, orjson.dumps(outcome).decode())
        self.replies[key] = reply
        self.new_replies.append(reply)


def _require_permitted(message: Message, created: Versioned[Any] | None) -> None:
    permits = message.permits
    if permits is not None and created is not None and not permits(created):
        raise Forbidden("What this would create is not yours: name yourself as its party.")


def streams_needed(message: Message, states: Loaded) -> list[str]:
    """The streams that a message needs, as far as the states at hand can tell."""
    versioned = states.get(message.stream)
    return [message.stream, *message.command.reads(versioned.state if versioned else None, states)]


def _stream_and_event(happened: Event | OtherStreamEvent, own: str) -> tuple[str, Event]:
    return (
        (happened.stream, happened.event)
        if isinstance(happened, OtherStreamEvent)
        else (own, happened)
    )


def _apply(before: Versioned[Any] | None, recorded: Recorded, size: int) -> Versioned[Any]:
    state, known = (before.state, before.size) if before else (None, 0)
    after = recorded.event.apply(state, recorded)
    return Versioned(after, recorded.version, recorded.position, recorded.at, known + size)


def repeat_of(reply: Reply, fingerprint: str) -> Repeat:
    """What a reply says was answered. Raises as `outcome_of`."""
    outcome = outcome_of(reply, fingerprint)
    version: int = outcome["version"]
    before: int = outcome.get("before", version - 1)  # replies of earlier builds do not say it
    return Repeat(outcome["stream"], version, before, outcome["created"])
