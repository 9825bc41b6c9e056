"""The cache of the writer: the head of the log, and the states of the streams that were used last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from domain.errors import Unreadable
from domain.eventlog.append import Transaction
from domain.eventlog.connection.log_head import LastSeen
from domain.eventlog.keyring import Keyring
from domain.lru import LruCache
from domain.model import CACHED_PARTS, Creation, Versioned
from domain.writer.batch import Loaded, streams_needed
from domain.writer.message import Message

ALONE_AFTER = 32
"""Batches without a write of another process, after which the writer appends without the lock."""
GUESS_AGAIN_AFTER = 8
"""Batches that load every stream, after a stream was not as it was cached or assumed to be."""
EPOCH = datetime.fromtimestamp(0, UTC)


class StateCache:
    """The session, position and time of the last write of this process, and cached states of streams up to that position.

    After a write of another process a batch loads only the streams that it needs; the other cached states stay old until
    a batch needs them.
    """

    def __init__(self, keyring: Keyring, seen: LastSeen) -> None:
        self._keyring = keyring
        self._seen = seen
        self._states: LruCache[str, Versioned[Any]] = LruCache(CACHED_PARTS, attrgetter("weight"))
        self._current: set[str] = set()
        self._batches_alone = 0
        self._batches_since_wrong_guess = GUESS_AGAIN_AFTER + 1
        self._guessed: set[str] = set()
        self.damaged: dict[str, Unreadable] = {}
        """The errors of the streams that the present batch cannot read."""
        self._batch_start: tuple[int, datetime] = 0, EPOCH
        self._continues_seen_log = False
        """Whether it is certain that this session writes to the log in which `seen` was seen."""
        self.session = -1
        self.position = -1
        self.at = EPOCH
        keyring.on_destroyed.append(self._drop)

    @property
    def alone(self) -> bool:
        """Whether no other process has written for `ALONE_AFTER` batches."""
        return self._batches_alone >= ALONE_AFTER

    def other_process_wrote(self) -> None:
        """Note that another process has written."""
        self._batches_alone = 0

    def is_guessed(self, stream: str) -> bool:
        """Whether the present batch assumes, without a query, that a stream is absent."""
        return stream in self._guessed

    def stop_guessing(self) -> None:
        """Load every stream for `GUESS_AGAIN_AFTER` batches, as a stream was not as it was cached or assumed to be."""
        self._batches_since_wrong_guess = 0
        self._keyring.forget_absent()

    def begin(self, transaction: Transaction) -> None:
        """Drop the cached data that is out of date for a transaction."""
        if transaction.session != self.session or transaction.position < self.position:
            self.forget()
            self.session = transaction.session
            self._continues_seen_log = False
        else:
            self.begin_after(transaction.position)
        self._batch_start = transaction.position, transaction.at

    def begin_after(self, position: int) -> None:
        """Drop the cached data that is out of date for a batch of the same session after `position`, which has not fallen."""
        if position != self.position:
            self._batches_alone = 0
            self._current.clear()
            self._keyring.forget_absent()
            self._batch_start = position, EPOCH  # the time of that event is not known
        else:
            self._batches_alone += 1
            self._batch_start = position, self.at

    def cached_states(self, messages: Iterable[Message]) -> Loaded | None:
        """The cached states of the streams of messages; None where one of them or its key is not cached, or guessing is
        stopped (`stop_guessing`).
        """
        if self._batches_since_wrong_guess <= GUESS_AGAIN_AFTER:
            return None
        streams = {message.stream for message in messages}
        states = {stream: self._states.get(stream) for stream in streams}
        _, unknown = self._keyring.known_keys(streams, use_absent=True)
        return None if unknown or None in states.values() else states

    async def load(self, transaction: Transaction, messages: Sequence[Message]) -> Loaded:
        """The present states of all streams that the messages need.

        In an optimistic transaction, a stream that a message creates and that is not cached is assumed to be absent: if it
        exists, the append fails. Streams that cannot be read are returned as absent, with their errors in `damaged`.
        """
        self.damaged = {}
        self._batches_since_wrong_guess += 1
        guessing = not transaction.locked and self._batches_since_wrong_guess > GUESS_AGAIN_AFTER
        self._guessed = self._new_streams(messages) if guessing else set()
        self._keyring.assume_absent(self._guessed)
        states = Loaded(dict.fromkeys(self._guessed))
        while missing := _missing(messages, states):
            loaded = {stream: self._states.get(stream) for stream in missing}
            stale = {s: versioned for s, versioned in loaded.items() if s not in self._current}
            if stale:
                loaded.update(dict.fromkeys(stale) | await transaction.load(stale, self.damaged))
            states.update(loaded)
        # The keyring may have dropped the key of a cached state; without this a second key would be made.
        await transaction.learn(states)
        return states

    def remember(self, states: Loaded, position: int, at: datetime) -> None:
        """Cache the states after a committed batch, and the position and time of its last event."""
        self.position, self.at = position, at
        if position > self._batch_start[0]:
            self._continues_seen_log = self._continues_seen_log or self._seen.is_followed_by(
                *self._batch_start
            )
            if self._continues_seen_log:
                self._seen.note(position, at)
        for stream, versioned in states.items():
            if versioned is not None and not self._keyring.is_destroyed(stream):
                self._states.put(stream, versioned)
                self._current.add(stream)
        self._current.difference_update(self._states.trim())

    def _drop(self, streams: Iterable[str]) -> None:
        """Drop the states of streams whose keys were destroyed, as they hold decrypted content."""
        for stream in streams:
            self._states.pop(stream)
            self._current.discard(stream)

    def _new_streams(self, messages: Iterable[Message]) -> set[str]:
        return {
            message.stream
            for message in messages
            if isinstance(message.command, Creation)
            and message.if_match is None
            and message.stream not in self._states
        }

    def forget(self) -> None:
        """Drop everything, as nothing cached is certain after a failed commit or on another server."""
        self._states.clear()
        self._current.clear()
        self.position = -1
        self._batches_alone = 0
        self._keyring.forget()


def _missing(messages: Iterable[Message], states: Loaded) -> dict[str, None]:
    return {
        stream: None
        for message in messages
        for stream in streams_needed(message, states)
        if stream not in states
    }
