"""What the writer does after a commit, while it goes on: snapshots, repeated answers, deleting expired replies."""

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

CLEANING = timedelta(hours=1)


class BackgroundTasks:
    """Runs each piece of work as a task of its own."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._cleaned: datetime | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def finish(self) -> None:
        """Wait for all tasks."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def answer(self, receiver: AnswerReceiver, answering: Coroutine[Any, Any, Any]) -> None:
        """Answer a caller with what a coroutine returns, or refuse it with what it raises."""
        self._begin(_answer(receiver, answering), "repeated answer")

    def store_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Store the snapshots of a batch that was committed."""
        if snapshots:
            self._begin(self._store.store_snapshots(snapshots), "snapshots")

    def clean(self) -> None:
        """Forget old replies, once an hour, and at first: a log among others may never be open for so long."""
        now = self._clock()
        if self._cleaned is None or now - self._cleaned > CLEANING:
            self._cleaned = now
            self._begin(self._store.forget_replies(now - REPLY_RETENTION), "cleaning")

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(_ignoring_overload(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ignoring_overload(work: Coroutine[Any, Any, None]) -> None:
    with suppress(Overloaded):  # it saves time, later, or is done an hour later
        await work


async def _answer(receiver: AnswerReceiver, answering: Coroutine[Any, Any, Any]) -> None:
    try:
        answer = await answering
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller is answered
        receiver.refuse(error)
    else:
        receiver.answer(answer)
