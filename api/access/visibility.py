"""Decides whether a caller sees something: what is outside of its scope is answered as what does not exist."""

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
"""Pairs of a scope and an execution that it reaches, which are remembered: the parties of an execution never change."""
EXECUTION = "execution/"
Load = Callable[[str], Awaitable[Versioned[Any] | None]]
PartiesOf = Callable[[str], Awaitable[Parties | None]]


class Visibility:
    """Checks single aggregates against scopes. `load` reads the state of a stream, `parties_of` whose it is.

    A scope of parties alone is checked by the first event of an execution, so what belongs to others takes as long
    as what does not exist, however large it is. That something is reached is remembered, that it is not never is.
    """

    def __init__(self, load: Load, parties_of: PartiesOf) -> None:
        self._load = load
        self._parties_of = parties_of
        self._reached: LruCache[tuple[Condition, str], bool] = LruCache(CACHED)

    def needs_look(self, caller: Caller, right: Right, stream: str) -> bool:
        """Whether a command to an execution must wait until its parties are known: the writer would read all of it
        before it refuses. Where the scope is of more than parties, the writer alone can tell.
        """
        if not (stream.startswith(EXECUTION) and _is_of_parties(caller, right)):
            return False
        return not self._reached.get((caller.scope.condition(right), stream))

    def remember_created(self, caller: Caller, right: Right, stream: str) -> None:
        """Remember that the caller reaches what it has created."""
        if _is_of_parties(caller, right):
            self._remember(caller.scope.condition(right), stream)

    async def require_for_command(self, caller: Caller, right: Right, stream: str) -> None:
        """`require` where a command must wait for it; the writer checks the rest."""
        if self.needs_look(caller, right, stream):
            await self.require(caller, right, stream)

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
            self._remember(condition, stream)

    async def _read_checked_state(
        self, caller: Caller, right: Right, stream: str
    ) -> Versioned[Any] | None:
        """What the scope is checked on: the state, or no more of it than whose it is, where that tells."""
        if stream.startswith(EXECUTION) and _is_of_parties(caller, right):
            with suppress(Damaged):  # other events may still say whose it is
                parties = await self._parties_of(stream)
                return parties and placeholder_of_parties(parties)
        return await self._load(stream)

    def _remember(self, condition: Condition, stream: str) -> None:
        self._reached.put((condition, stream), True)
        self._reached.trim()


def _is_of_parties(caller: Caller, right: Right) -> bool:
    """Whether the parties of an execution tell what the caller may do with it, and what it may see of it."""
    scope = caller.scope
    return not scope.is_unlimited(right) and all(
        parties_suffice(scope.condition(each)) for each in (right, Right.READ_EXECUTIONS)
    )


def owns(caller: Caller, right: Right, damaged: Damaged) -> bool:
    """Whether what is damaged is a caller's. What is not is answered as what does not exist.

    Raises:
        Forbidden: the caller may see it, but has not the right for it.
    """
    permits = caller.permits(right)
    return permits is None or permits(placeholder_of(damaged))
