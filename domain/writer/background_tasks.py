"""Work that the writer starts after a commit and does not wait for: storing snapshots, repeating answers, deleting expired
replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from domain.errors import Overloaded
from domain.eventlog.codec import Snapshot
from domain.eventlog.idempotency import REPLY_RETENTION
from domain.eventlog.store import Store
from domain.writer.queue import AnswerReceiver

CLEANING_INTERVAL = timedelta(hours=1)
"""The least time between two deletions of expired replies."""


class BackgroundTasks:
    """Runs each background job of the writer as an asyncio task."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._last_cleaning_at: datetime | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def finish(self) -> None:
        """Wait until all tasks have ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def answer(self, receiver: AnswerReceiver, answering: Coroutine[Any, Any, Any]) -> None:
        """Pass the result of a coroutine to a receiver, or refuse the receiver with the exception of the coroutine."""
        self._start_task(_answer(receiver, answering), "repeated answer")

    def store_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Store the snapshots of a committed batch."""
        if snapshots:
            self._start_task(self._store.store_snapshots(snapshots), "snapshots")

    def clean(self) -> None:
        """Delete expired replies: at the first call, and then at most once an hour.

        The first call counts because one of several logs in a process may never stay open for an hour.
        """
        now = self._clock()
        last = self._last_cleaning_at
        if last is None or now - last > CLEANING_INTERVAL:
            self._last_cleaning_at = now
            self._start_task(self._store.forget_replies(now - REPLY_RETENTION), "cleaning")

    def _start_task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(_ignoring_overload(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ignoring_overload(work: Coroutine[Any, Any, None]) -> None:
    with suppress(
        Overloaded
    ):  # snapshots only save time; expired replies are deleted an hour later
        await work


async def _answer(receiver: AnswerReceiver, answering: Coroutine[Any, Any, Any]) -> None:
    try:
        answer = await answering
    except Exception as error:  # noqa: BLE001 - the caller gets an answer after any exception
        receiver.refuse(error)
    else:
        receiver.answer(answer)
