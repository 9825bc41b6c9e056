"""The writer of background work: it decides without the lock of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog

from domain.errors import DomainError, OutcomeUnknown, Overloaded, Unreadable
from domain.eventlog.append import StreamMoved
from domain.eventlog.connection.commit import OutcomeLost
from domain.eventlog.store import Store
from domain.writer.batch import Batch, Decided
from domain.writer.command_bus import Answer
from domain.writer.dry_run import load_wanted
from domain.writer.guarded_batch import shift_position
from domain.writer.message import Message, Unless

TRIES = 5
"""How often commands are decided, before they are refused because other processes wrote to their streams each time."""
CONTENDED = "Others wrote to the same streams again and again. Send it once more."

log = structlog.get_logger()


class WriteOutcome(NamedTuple):
    """The answer to a message, or the error with which it was refused."""

    answer: Answer | None = None
    refused: Exception | None = None


Conclude = Callable[[Sequence[WriteOutcome]], Message]


class GuardedWriter:
    """Decides commands on the states that it reads, and appends their events at the present head of the log, if each of
    the streams still has the version that was read. If not, nothing is written, and all commands are decided again.

    The event loop of a process with other work, such as views, may be busy for long between two statements. The bus
    would hold the lock of the log for that time, and every other writer would wait. Here the statement that appends
    is the only one that holds the lock, unless a message has `unless`: then the lock is taken one statement earlier,
    to look for events of that type.

    That is faster as long as other processes hardly ever write to the same streams at the same moment. Commands that
    read other streams, have an idempotency key, or lead to log lines or heartbeats are for the bus.

    An answer has the time at which it was decided. Its events are recorded at a later time, if another process has
    recorded an event at a later time meanwhile.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        new_id: Callable[[str], str],
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._random = random
        self._writing = asyncio.Lock()
        self.appended = 0
        """The number of events that this writer has appended."""

    async def send(self, message: Message) -> Answer:
        """Record the events of one command.

        Raises:
            DomainError: the command was refused; nothing was recorded.
            Overloaded, OutcomeUnknown: as `send_all`.
        """
        (outcome,) = await self.send_all([message])
        if outcome.answer is None:
            assert outcome.refused is not None
            raise outcome.refused
        return outcome.answer

    async def send_all(
        self, messages: Sequence[Message], conclude: Conclude | None = None
    ) -> list[WriteOutcome]:
        """Record the events of several commands in one commit. The refusal of one does not affect the others.

        `conclude` makes one more message from the outcomes of `messages`. If that message is refused, nothing is recorded.

        Raises:
            DomainError: the message of `conclude` was refused.
            Overloaded: the database is unavailable, or other processes wrote first in all tries; nothing was recorded.
            OutcomeUnknown: the connection broke during the commit. Unlike the bus, this writer does not look whether the
                events were written: their time may have been moved later, so it cannot find them by it. Every caller reads
                the log again before it continues.
            ValueError: a command leads to a log line or a heartbeat; nothing was recorded.
        """
        async with self._writing:
            for _ in range(TRIES):
                try:
                    return await self._write(messages, conclude)
                except StreamMoved:
                    continue
                except OutcomeLost as lost:
                    raise OutcomeUnknown from lost
            raise Overloaded(CONTENDED)

    async def _write(
        self, messages: Sequence[Message], conclude: Conclude | None
    ) -> list[WriteOutcome]:
        store = self._store
        damaged: dict[str, Unreadable] = {}
        states = await load_wanted(messages, store, damaged)
        # After the states of the messages, so that none of them is later than the time of the batch.
        position, at = await store.head()
        batch = Batch(
            position,
            max(self._clock(), at),
            states,
            {},
            store.codec,
            store.keyring,
            self._new_id,
            self._random,
            damaged,
        )
        outcomes = [_decide(batch, message) for message in messages]
        if conclude is not None:
            conclusion = conclude(outcomes)
            batch.states |= await load_wanted([conclusion], store, damaged)
            batch.take(conclusion)
        if batch.lines or batch.heartbeats:
            raise ValueError("only the bus writes log lines and heartbeats: nothing was recorded")
        unless = Unless.earliest(each.unless for each in messages if each.unless)
        before = (
            await store.append(batch.rows, batch.now, unless or None) if batch.rows else position
        )
        self.appended += len(batch.rows)
        return [_move_outcome(outcome, position, before) for outcome in outcomes]


def _decide(batch: Batch, message: Message) -> WriteOutcome:
    assert message.idempotency is None
    try:
        decided = batch.take(message)
    except DomainError as error:
        return WriteOutcome(refused=error)
    except Exception as error:  # an exception of one command does not affect the others
        log.exception("command failed", command=message.command.wire_name)
        return WriteOutcome(refused=error)
    assert isinstance(decided, Decided)
    return WriteOutcome(Answer(decided.versioned, decided.created, recorded=decided.recorded))


def _move_outcome(outcome: WriteOutcome, expected: int, before: int) -> WriteOutcome:
    """Shift the position of the state in an outcome from the expected head of the log to the actual one."""
    if outcome.answer is None:
        return outcome
    versioned = shift_position(outcome.answer.versioned, expected, before)
    return WriteOutcome(outcome.answer._replace(versioned=versioned))
