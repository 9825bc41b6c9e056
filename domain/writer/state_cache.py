"""What the writer has cached of the log: its head, and the states of the streams that were used last."""

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

ALONE_AFTER = 8
"""After so many batches without another process writing, the lock is not taken in advance."""
GUESS_AGAIN_AFTER = 8
"""Batches in which each stream is asked for, after one was not as it was believed to be."""
EPOCH = datetime.fromtimestamp(0, UTC)


class StateCache:
    """The head as this process left it, in which session, and the states up to there.

    When another process has written, a batch brings only its own streams up to date; the rest stay
    behind until they are wanted.
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
        """What is wrong with the streams that this batch cannot read."""
        self._began: tuple[int, datetime] = 0, EPOCH
        self._goes_on = False
        """Whether what this session writes is known to go on with what was seen."""
        self.session = -1
        self.position = -1
        self.at = EPOCH
        keyring.on_destroyed.append(self._drop)

    @property
    def alone(self) -> bool:
        """Whether nobody else has written for a while."""
        return self._batches_alone >= ALONE_AFTER

    def other_process_wrote(self) -> None:
        """Another process has written."""
        self._batches_alone = 0

    def is_guessed(self, stream: str) -> bool:
        """Whether this batch believes, without having asked, that a stream is absent."""
        return stream in self._guessed

    def stop_guessing(self) -> None:
        """A stream may not be as it was believed to be, or not absent: ask for a while."""
        self._batches_since_wrong_guess = 0
        self._keyring.forget_absent()

    def begin(self, transaction: Transaction) -> None:
        """Drop what does not hold any more where a transaction begins."""
        if transaction.session != self.session or transaction.position < self.position:
            self.forget()
            self.session = transaction.session
            self._goes_on = False
        else:
            self.begin_after(transaction.position)
        self._began = transaction.position, transaction.at

    def begin_after(self, position: int) -> None:
        """The same in the session as before, after a position that is no lower."""
        if position != self.position:
            self._batches_alone = 0
            self._current.clear()
            self._keyring.forget_absent()
            self._began = position, EPOCH  # when that event came is not known
        else:
            self._batches_alone += 1
            self._began = position, self.at

    def cached_states(self, messages: Iterable[Message]) -> Loaded | None:
        """The states of the streams of messages as they were seen last, where all of them and their keys are at hand, and none
        was otherwise of late.
        """
        if self._batches_since_wrong_guess <= GUESS_AGAIN_AFTER:
            return None
        streams = {message.stream for message in messages}
        states = {stream: self._states.get(stream) for stream in streams}
        _, unknown = self._keyring.known_keys(streams, believe_absent=True)
        return None if unknown or None in states.values() else states

    async def load(self, transaction: Transaction, messages: Sequence[Message]) -> Loaded:
        """The present states of all streams that the messages need.

        In an optimistic transaction a stream that a message creates, and of which nothing is known,
        is believed absent: to write to it fails where it is not. Streams that cannot be read are as if
        absent, and in `damaged`.
        """
        self.damaged = {}
        self._batches_since_wrong_guess += 1
        guessing = not transaction.locked and self._batches_since_wrong_guess > GUESS_AGAIN_AFTER
        self._guessed = self._new_streams(messages) if guessing else set()
        self._keyring.assume_absent(self._guessed)
        states = Loaded(dict.fromkeys(self._guessed))
        while missing := _missing(messages, states):
            known = {stream: self._states.get(stream) for stream in missing}
            stale = {s: versioned for s, versioned in known.items() if s not in self._current}
            if stale:
                known.update(dict.fromkeys(stale) | await transaction.load(stale, self.damaged))
            states.update(known)
        # A key may have left the ring while its state stayed here; a second one must not be made.
        await transaction.learn(states)
        return states

    def remember(self, states: Loaded, position: int, at: datetime) -> None:
        """A batch was committed: the head is there, and these are the states."""
        self.position, self.at = position, at
        if position > self._began[0]:
            self._goes_on = self._goes_on or self._seen.is_followed_by(*self._began)
            if self._goes_on:
                self._seen.note(position, at)
        for stream, versioned in states.items():
            if versioned is not None and not self._keyring.is_destroyed(stream):
                self._states.put(stream, versioned)
                self._current.add(stream)
        self._current.difference_update(self._states.trim())

    def _drop(self, streams: Iterable[str]) -> None:
        """Drop the states of streams whose keys were destroyed: they have opened content."""
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
        """After a failed commit, or on another server, nothing held in memory can be trusted."""
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
