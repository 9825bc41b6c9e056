"""Thousands who come back at once ask the database together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Batches(Generic[K, V]):
    """Turns single questions into one for many. A question is answered from after it was asked."""

    def __init__(
        self,
        fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        most: int,
        at_once: int = 1,
    ) -> None:
        self._fetch = fetch
        self._most = most
        self._free = at_once
        self._waiting: list[tuple[K, asyncio.Future[V | None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, key: K) -> asyncio.Future[V | None]:
        """What `fetch` finds for a key, or what it raises."""
        future: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._run(), name="streams' questions")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._waiting[: self._most])
        finally:
            self._free += 1

    async def _answer(self, batch: list[tuple[K, asyncio.Future[V | None]]]) -> None:
        del self._waiting[: len(batch)]
        try:
            found = await self._fetch([key for key, _ in batch])
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for key, future in batch:
                if not future.done():
                    future.set_result(found.get(key))
