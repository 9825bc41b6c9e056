"""Checks whether a caller may see an aggregate: one outside of its scope is answered as if it did not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from api.access.identity import Caller
from api.access.rights import Right
from api.access.scope import maker_of
from domain.errors import Damaged, NotFound
from domain.eventlog.access.parties import Parties
from domain.lru import LruCache
from domain.model import Versioned
from domain.writer.visible_states import placeholder_of, placeholder_of_parties
from projections.query.ast import Condition
from projections.query.matcher import parties_suffice

CACHED = 100_000
"""Cached pairs of a scope and an execution that it reaches; they stay valid, as an execution's parties never change."""
EXECUTION = "execution/"
Load = Callable[[str], Awaitable[Versioned[Any] | None]]
PartiesOf = Callable[[str], Awaitable[Parties | None]]


class Visibility:
    """Checks single aggregates against scopes. `load` reads the state of a stream, `parties_of` only its parties.

    A scope that depends only on parties is checked by the first event of an execution, so that an execution of others
    is refused in the same time as one that does not exist, whatever its size. Only positive results are cached.
    """

    def __init__(self, load: Load, parties_of: PartiesOf) -> None:
        self._load = load
        self._parties_of = parties_of
        self._reached: LruCache[tuple[Condition, str], bool] = LruCache(CACHED)

    def needs_look(self, caller: Caller, right: Right, stream: str) -> bool:
        """Whether the parties of an execution must be read before a command to it: the writer would load the whole state
        before it refuses. Where the scope depends on more than parties, only the writer can check it.
        """
        if not (stream.startswith(EXECUTION) and _is_of_parties(caller, right)):
            return False
        return not self._reached.get((caller.scope.condition(right), stream))

    def remember_created(self, caller: Caller, right: Right, stream: str) -> None:
        """Cache that a caller reaches an aggregate that it has created."""
        if _is_of_parties(caller, right):
            self._cache_reached(caller.scope.condition(right), stream)

    async def require_for_command(self, caller: Caller, right: Right, stream: str) -> None:
        """Check the parties of a stream before a command, where `needs_look`; the writer checks everything else."""
        if self.needs_look(caller, right, stream):
            await self.require(caller, right, stream)

    async def require(self, caller: Caller, right: Right, stream: str) -> None:
        """Check that a caller has a right for a stream.

        Raises:
            NotFound: there is no such stream, or it is not in the caller's scope.
            Forbidden: the caller may see the stream, but has not the right for it.
            Damaged: the stream cannot be read, and is in the caller's scope.
        """
        permits = caller.permits(right)
        if permits is None:
            return
        condition = caller.scope.condition(right)
        if self._reached.get((condition, stream)):
            return
        try:
            versioned = await self._read_checked_state(caller, right, stream)
        except Damaged as error:
            if not owns(caller, right, error):
                raise NotFound.of(stream) from None
            raise
        if versioned is None or not permits(versioned):
            raise NotFound.of(stream)
        if maker_of(versioned) is None and parties_suffice(condition):
            self._cache_reached(condition, stream)

    async def _read_checked_state(
        self, caller: Caller, right: Right, stream: str
    ) -> Versioned[Any] | None:
        """The state that the scope is checked on, or a placeholder with its parties, where they suffice."""
        if stream.startswith(EXECUTION) and _is_of_parties(caller, right):
            with suppress(Damaged):  # other events may still name the parties
                parties = await self._parties_of(stream)
                return parties and placeholder_of_parties(parties)
        return await self._load(stream)

    def _cache_reached(self, condition: Condition, stream: str) -> None:
        self._reached.put((condition, stream), True)
        self._reached.trim()


def _is_of_parties(caller: Caller, right: Right) -> bool:
    """Whether a right of the caller, and its right to read, depend only on the parties of an execution."""
    scope = caller.scope
    return not scope.is_unlimited(right) and all(
        parties_suffice(scope.condition(each)) for each in (right, Right.READ_EXECUTIONS)
    )


def owns(caller: Caller, right: Right, damaged: Damaged) -> bool:
    """Whether a damaged aggregate is in the caller's scope. One that is not is answered as if it did not exist.

    Raises:
        Forbidden: the caller may see the aggregate, but has not the right for it.
    """
    permits = caller.permits(right)
    return permits is None or permits(placeholder_of(damaged))
