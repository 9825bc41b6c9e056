"""A command decided without the writer: no lock, no commit, keys that are thrown away."""

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
    """The rows that would be appended, each with the key that opens it, the state after them, and the name of
    the log, if it has one.
    """

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
    """What a message would lead to, if it were decided on the states there are now.

    Raises:
        DomainError: it would be refused.
    """
    keyring = store.keyring.ephemeral()
    position, at = await store.head()
    damaged: dict[str, Unreadable] = {}
    batch = Batch(
        position,
        max(now, at),
        await load_wanted([message], store, damaged),
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
    """The states of all streams that messages need, as they are now, read without the lock.

    Those that cannot be read are as if absent, and in `damaged`.
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
