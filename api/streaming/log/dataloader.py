"""Collects single questions to the database and asks many of them in one query."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from domain.errors import Overloaded, Unreadable

K = TypeVar("K")
V = TypeVar("V")


class DataLoader(Generic[K, V]):
    """Thousands who reconnect at once share queries of at most `most` keys each.

    A key is always fetched after it was asked for, never answered from an earlier query.
    """

    def __init__(self, fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], most: int) -> None:
        self._fetch = fetch
        self._most = most
        self._waiting: deque[tuple[K, asyncio.Future[V | None]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def load(self, key: K) -> asyncio.Future[V | None]:
        """The value that `fetch` finds for a key, None if it finds none, or what it raises."""
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="streaming: data loader")
        return answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                many = min(self._most, len(self._waiting))
                await self._answer([self._waiting.popleft() for _ in range(many)])
        finally:
            self._task = None

    async def _answer(self, batch: Sequence[tuple[K, asyncio.Future[V | None]]]) -> None:
        try:
            found = await self._fetch([key for key, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is raised to the caller
            await self._fail(batch, error)
        else:
            for key, answer in batch:
                if not answer.done():
                    answer.set_result(found.get(key))

    async def _fail(
        self, batch: Sequence[tuple[K, asyncio.Future[V | None]]], error: Exception
    ) -> None:
        """One key that cannot be fetched fails alone: each half of the batch is tried by itself."""
        if len(batch) > 1 and (isinstance(error, Unreadable) or not isinstance(error, Overloaded)):
            half = len(batch) // 2
            await self._answer(batch[:half])
            await self._answer(batch[half:])
            return
        for _, answer in batch:
            if not answer.done():
                answer.set_exception(error)
