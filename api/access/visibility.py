"""Whether something is there for a caller: what is outside of its scope does not exist for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from api.access.identity import Caller
from api.access.rights import Right
from api.access.scope import maker_of
from domain.errors import Damaged, NotFound
from domain.lru import LruCache
from domain.model import Versioned
from domain.writer.reachable import stand_in
from projections.query.ast import Condition
from projections.query.matcher import parties_suffice

CACHED = 100_000
"""Pairs of a scope and an execution that stand for as long as the parties do: for ever."""
Load = Callable[[str], Awaitable[Versioned[Any] | None]]


class Visibility:
    """Checks single aggregates against scopes. `load` reads the state of a stream.

    That something is reached is remembered, that it is not never is: what belongs to others takes as long
    as what does not exist.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._reached: LruCache[tuple[Condition, str], bool] = LruCache(CACHED)

    async def require(self, caller: Caller, right: Right, stream: str) -> None:
        """Let a caller do something with a stream.

        Raises:
            NotFound: the caller has not the right for it, or there is none.
            Damaged: it cannot be read, and belongs to the caller.
        """
        permits = caller.permits(right)
        if permits is None:
            return
        condition = caller.scope.condition(right)
        key = (condition, stream)
        if self._reached.get(key):
            return
        try:
            versioned = await self._load(stream)
        except Damaged as error:
            if not owns(caller, right, error):
                raise NotFound from None
            raise
        if versioned is None or not permits(versioned):
            raise NotFound
        if maker_of(versioned) is None and parties_suffice(condition):
            self._reached.put(key, True)
            self._reached.trim()


def owns(caller: Caller, right: Right, damaged: Damaged) -> bool:
    """Whether what is damaged is a caller's. What is not is answered as what does not exist.

    Raises:
        Forbidden: the caller may see it, but has not the right for it.
    """
    permits = caller.permits(right)
    return permits is None or permits(stand_in(damaged))
