"""A dry run: a command is decided without a lock or a commit, and its data keys are discarded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from domain.errors import Unreadable
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey
from domain.eventlog.store import Store
from domain.model import Versioned
from domain.writer.batch import Batch, Decided, Loaded, streams_needed
from domain.writer.message import Message


class DryRun(NamedTuple):
    """The rows that would be appended, each with its data key, the state after them, and the name of the log, if any."""

    rows: list[tuple[EventRow, DataKey]]
    versioned: Versioned[Any]
    log: str | None = None


async def dry_run(
    message: Message,
    store: Store,
    now: datetime,
    new_id: Callable[[str], str],
    random: Callable[[], float],
) -> DryRun:
    """Decide a message on the present states, and record nothing.

    Raises:
        DomainError: the message would be refused.
    """
    damaged: dict[str, Unreadable] = {}
    states = await load_wanted([message], store, damaged)
    keyring = store.keyring.ephemeral(states)
    position, at = await store.head()  # after the states, as for the guarded writer
    batch = Batch(
        position,
        max(now, at),
        states,
        {},
        store.codec,
        keyring,
        new_id,
        random,
        damaged,
    )
    decided = batch.take(message._replace(idempotency=None))
    assert isinstance(decided, Decided)
    rows = [(row, keyring.get_or_create(row.stream)) for row in batch.rows]
    return DryRun(rows, decided.versioned, store.log_name)


async def load_wanted(
    messages: Sequence[Message], store: Store, damaged: dict[str, Unreadable]
) -> Loaded:
    """Load the present states of all streams that messages need, without the lock.

    A stream that cannot be read is returned as absent (None), and its error is added to `damaged`.
    """
    states = Loaded()
    while missing := {
        stream: None
        for message in messages
        for stream in streams_needed(message, states)
        if stream not in states
    }:
        async with store.reader() as connection:
            found = await store.states.load(connection, missing, damaged=damaged)
        states |= dict.fromkeys(missing) | found
    return states
