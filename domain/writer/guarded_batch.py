"""A batch that is appended without the lock of the log while other processes write, too. All callers wait for each
statement: this way takes one, the way with the lock three.

The batch is decided on cached states. Its statement appends at the present head of the log, and fails if a stream has
another version than its cached state. That check does not cover a command that reads other streams, is refused, or leads
to no event: a batch with such a command takes the lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from domain.errors import OutcomeUnknown
from domain.eventlog.append import HeadMoved
from domain.eventlog.codec import Snapshot
from domain.eventlog.connection.commit import OutcomeLost
from domain.eventlog.store import Store
from domain.model import Versioned
from domain.writer.batch import Batch, Decided, streams_needed
from domain.writer.message import Message
from domain.writer.state_cache import StateCache

log = structlog.get_logger()

Positioned = TypeVar("Positioned", Versioned[Any], Snapshot)


async def write(
    store: Store, cache: StateCache, batch: Batch, messages: Sequence[Message], largest: int
) -> tuple[list[Decided], list[Snapshot]] | None:
    """Decide messages, append their events, and cache the states after them.

    Return what became of each message, and the snapshots that are due. Return None, with nothing written, where the batch
    needs the lock: a message leads to no event of its own stream, the events exceed `largest` bytes, or a stream has moved.

    Raises:
        Overloaded: the database is unavailable; nothing was written.
        OutcomeUnknown: the connection broke during the commit.
    """
    if (decided := _decide(batch, messages, largest)) is None:
        store.keyring.discard_unsaved()
        return None
    snapshots = snapshots_of(batch)  # before the append, while the keyring has their keys
    expected = cache.position
    if (before := await _append(store, cache, batch)) is None:
        return None
    with unknown_after_commit():
        for stream, versioned in batch.states.items():
            batch.states[stream] = versioned and shift_position(versioned, expected, before)
        cache.begin_after(before)
        cache.remember(batch.states, before + len(batch.rows), batch.now)
        return (
            [
                each._replace(versioned=shift_position(each.versioned, expected, before))
                for each in decided
            ],
            [shift_position(each, expected, before) for each in snapshots],
        )


@contextmanager
def unknown_after_commit() -> Iterator[None]:
    """Turn any error after a commit into OutcomeUnknown, as a batch that fails otherwise is written again."""
    try:
        yield
    except Exception as error:
        log.exception("a batch was written, and cannot be answered")
        raise OutcomeUnknown from error


def _decide(batch: Batch, messages: Sequence[Message], largest: int) -> list[Decided] | None:
    decided: list[Decided] = []
    for message in messages:
        try:
            if streams_needed(message, batch.states) != [message.stream] or batch.size > largest:
                return None
            outcome = batch.take(message)
        except Exception:  # noqa: BLE001 - it is raised again when the batch is decided under the lock
            return None
        assert isinstance(outcome, Decided)
        decided.append(outcome)
    guarded = {row.stream for row in batch.rows}
    beyond_events = batch.lines or batch.heartbeats or batch.erased
    if beyond_events or any(message.stream not in guarded for message in messages):
        return None
    return decided


async def _append(store: Store, cache: StateCache, batch: Batch) -> int | None:
    """The position before the appended events; None where another process wrote to one of the streams first."""
    try:
        return await store.append(batch.rows, batch.now, session=cache.session)
    except HeadMoved:
        cache.stop_guessing()
        return None
    except OutcomeLost as lost:
        return await require_written(store, lost) - len(batch.rows)


def shift_position(each: Positioned, expected: int, before: int) -> Positioned:
    """Shift the position of a state or snapshot of a batch that was decided after `expected`, and appended after `before`."""
    if each.position <= expected:
        return each
    return each._replace(position=each.position - expected + before)


async def require_written(store: Store, lost: OutcomeLost) -> int:
    """Find out whether a commit was done, during which the connection broke; return the position of its last event.

    Raises:
        Overloaded: nothing was written.
        OutcomeUnknown: the database did not report within seconds whether it was.
    """
    if (position := await store.find_written(lost.check)) is None:
        raise store.outages.refuse(0) from lost
    log.warning("the connection broke during a commit, which was done; nothing is lost")
    return position


def snapshots_of(batch: Batch) -> list[Snapshot]:
    """The snapshots that are due after a batch; none, and a line in the log, where they cannot be taken."""
    try:
        return batch.snapshots()
    except Exception:  # snapshots only save time, so no command fails without them
        log.exception("no snapshots taken")
        return []
