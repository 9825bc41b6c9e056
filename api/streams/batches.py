"""Thousands who come back at once ask the database together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from domain.errors import Overloaded

K = TypeVar("K")
V = TypeVar("V")


class Question(NamedTuple, Generic[K, V]):
    """What somebody asked, and where the answer goes."""

    key: K
    answer: asyncio.Future[V | None]


class Batches(Generic[K, V]):
    """Turns single questions into one for many. A question is answered from after it was asked."""

    def __init__(self, fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], most: int) -> None:
        self._fetch = fetch
        self._most = most
        self._waiting: deque[Question[K, V]] = deque()
        self._task: asyncio.Task[None] | None = None

    def ask(self, key: K) -> asyncio.Future[V | None]:
        """What `fetch` finds for a key, or what it raises."""
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Question(key, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="streams' questions")
        return answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                many = min(self._most, len(self._waiting))
                await self._answer([self._waiting.popleft() for _ in range(many)])
        finally:
            self._task = None

    async def _answer(self, batch: Sequence[Question[K, V]]) -> None:
        try:
            found = await self._fetch([question.key for question in batch])
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            await self._fail(batch, error)
        else:
            for key, answer in batch:
                if not answer.done():
                    answer.set_result(found.get(key))

    async def _fail(self, batch: Sequence[Question[K, V]], error: Exception) -> None:
        """One question that has no answer takes nobody's: each half is asked again by itself."""
        if len(batch) > 1 and not isinstance(error, Overloaded):
            half = len(batch) // 2
            await self._answer(batch[:half])
            await self._answer(batch[half:])
            return
        for question in batch:
            if not question.answer.done():
                question.answer.set_exception(error)
