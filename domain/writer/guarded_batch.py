"""A batch that is appended without the lock of the log, while other processes write, too. It takes one statement, with the
lock three, and all callers wait for each of them.

The batch is decided on cached states. Its statement appends at whatever position the head has by then, and fails if one
of the streams has another version than the cached state. The version of its own stream does not guard every command: one
that reads other streams, is refused, or leads to no event takes the lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import structlog

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
    store: Store, known: StateCache, batch: Batch, messages: Sequence[Message], largest: int
) -> tuple[list[Decided], list[Snapshot]] | None:
    """Decide, append and remember messages, if an event of its own stream guards each of them, and all have so many bytes
    at most; what became of each, and the snapshots that are due. None where nothing was written, as it takes the lock.

    Raises:
        Overloaded: the database is away; nothing was written.
        OutcomeUnknown: the connection broke during the commit.
    """
    if (decided := _decide(batch, messages, largest)) is None:
        store.keyring.discard_unsaved()
        return None
    snapshots = snapshots_of(batch)  # while their keys are at hand
    expected = known.position
    if (before := await _append(store, known, batch)) is None:
        return None
    for stream, versioned in batch.states.items():
        batch.states[stream] = versioned and shift_position(versioned, expected, before)
    known.begin_after(before)
    known.remember(batch.states, before + len(batch.rows), batch.now)
    return (
        [
            each._replace(versioned=shift_position(each.versioned, expected, before))
            for each in decided
        ],
        [shift_position(each, expected, before) for each in snapshots],
    )


def _decide(batch: Batch, messages: Sequence[Message], largest: int) -> list[Decided] | None:
    decided: list[Decided] = []
    for message in messages:
        try:
            if streams_needed(message, batch.states) != [message.stream] or batch.size > largest:
                return None
            outcome = batch.take(message)
        except Exception:  # noqa: BLE001 - whatever it is, it shows again under the lock
            return None
        assert isinstance(outcome, Decided)
        decided.append(outcome)
    guarded = {row.stream for row in batch.rows}
    beyond_events = batch.lines or batch.heartbeats or batch.erased
    if beyond_events or any(message.stream not in guarded for message in messages):
        return None
    return decided


async def _append(store: Store, known: StateCache, batch: Batch) -> int | None:
    """The position before what was appended; None where others came first."""
    try:
        return await store.append(batch.rows, batch.now, session=known.session)
    except HeadMoved:
        known.stop_guessing()
        return None
    except OutcomeLost as lost:
        return await require_written(store, lost) - len(batch.rows)


def shift_position(each: Positioned, expected: int, before: int) -> Positioned:
    """What a batch left that was expected to begin after one position, and begins after another."""
    if each.position <= expected:
        return each
    return each._replace(position=each.position - expected + before)


async def require_written(store: Store, lost: OutcomeLost) -> int:
    """The position of the last event of a commit during which the connection broke: it was done all the same.

    Raises:
        Overloaded: nothing was written.
        OutcomeUnknown: the database has not said within seconds whether it was.
    """
    if (position := await store.find_written(lost.check)) is None:
        raise store.outages.refuse(0) from lost
    log.warning("the database broke off after a commit; nothing is lost")
    return position


def snapshots_of(batch: Batch) -> list[Snapshot]:
    """The snapshots that are due after a batch."""
    try:
        return batch.snapshots()
    except Exception:  # they save time, later: no command fails for want of one
        log.exception("no snapshots taken")
        return []
