"""A batch while other processes write, too: without the lock of the log, which takes three statements where this takes one.
Each of them is waited for by all callers.

It is decided on the states at hand, and appended wherever the log is by then, if each of its streams is still where it was
seen. A command that another process may have come before, without its own stream telling so, takes the lock: one that reads
other streams, that is refused, or that leads to no event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from domain.eventlog.append import HeadMoved
from domain.eventlog.codec import Snapshot
from domain.eventlog.connection.commit import OutcomeLost
from domain.eventlog.store import Store
from domain.model import Versioned
from domain.writer.batch import Batch, Decided, wanted
from domain.writer.message import Message
from domain.writer.state_cache import StateCache

log = structlog.get_logger()


def decide(batch: Batch, messages: Sequence[Message], largest: int) -> list[Decided] | None:
    """What becomes of messages, where an event of its own stream guards each of them, and all have so many bytes at
    most; else None.
    """
    decided: list[Decided] = []
    for message in messages:
        if wanted(message, batch.states) != [message.stream] or batch.size > largest:
            return None
        try:
            outcome = batch.take(message)
        except Exception:  # noqa: BLE001 - whatever it is, it shows again under the lock
            return None
        assert isinstance(outcome, Decided)
        decided.append(outcome)
    guarded = {row.stream for row in batch.rows}
    beyond_events = batch.lines or batch.signs or batch.erased
    if beyond_events or any(message.stream not in guarded for message in messages):
        return None
    return decided


async def append(
    store: Store, known: StateCache, batch: Batch
) -> Callable[[Decided], Decided] | None:
    """Append what was decided, and remember the states; what places what was decided where it is in the log, or None where
    others came first and nothing was written.

    Raises:
        Overloaded: the database is away; nothing was written.
        OutcomeUnknown: the connection broke during the commit.
    """
    expected = known.position
    try:
        before = await store.append(batch.rows, batch.now, session=known.session)
    except HeadMoved:
        known.others_came_first()
        return None
    except OutcomeLost as lost:
        await require_written(store, lost)
        last = batch.rows[-1]
        [found] = await store.history(last.stream, last.version - 1, last.version)
        before = found.position - len(batch.rows)
    for stream, versioned in batch.states.items():
        batch.states[stream] = versioned and placed(versioned, expected, before)
    known.begin_after(before)
    known.remember(batch.states, before + len(batch.rows), batch.now)
    return lambda each: each._replace(versioned=placed(each.versioned, expected, before))


def placed(versioned: Versioned[Any], expected: int, before: int) -> Versioned[Any]:
    """A state after a batch that was expected to begin after one position, and begins after another."""
    if versioned.position <= expected:
        return versioned
    return versioned._replace(position=versioned.position - expected + before)


async def require_written(store: Store, lost: OutcomeLost) -> None:
    """Raises Overloaded where nothing was written, OutcomeUnknown where that cannot be found out."""
    if not await store.was_written(lost.trace):
        raise store.outages.refuse(0) from lost
    log.warning("the database broke off after a commit; nothing is lost")


def snapshots_of(batch: Batch) -> list[Snapshot]:
    """The snapshots that are due after a batch."""
    try:
        return batch.snapshots()
    except Exception:  # they save time, later: no command fails for want of one
        log.exception("no snapshots taken")
        return []
