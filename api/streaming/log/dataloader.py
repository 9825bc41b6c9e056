"""Collects single reads of the database and makes one query of many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from domain.errors import Overloaded, Unreadable

K = TypeVar("K")
V = TypeVar("V")


class DataLoader(Generic[K, V]):
    """Loads values by key, with at most `most` keys in a query: thousands of clients that reconnect at once share
    queries.

    A key is always fetched by a query that begins after `load`; values are not cached.
    """

    def __init__(self, fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], most: int) -> None:
        self._fetch = fetch
        self._most = most
        self._waiting: deque[tuple[K, asyncio.Future[V | None]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def load(self, key: K) -> asyncio.Future[V | None]:
        """The value that `fetch` finds for a key, or None; or the error that `fetch` raises."""
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="streaming: data loader")
        return answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                size = min(self._most, len(self._waiting))
                await self._answer([self._waiting.popleft() for _ in range(size)])
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
        """Fetch each half of a failed batch by itself, so that only the keys that cannot be fetched fail."""
        if len(batch) > 1 and (isinstance(error, Unreadable) or not isinstance(error, Overloaded)):
            half = len(batch) // 2
            await self._answer(batch[:half])
            await self._answer(batch[half:])
            return
        for _, answer in batch:
            if not answer.done():
                answer.set_exception(error)
