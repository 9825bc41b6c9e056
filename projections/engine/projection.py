"""The protocol that every projection follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from psycopg import AsyncConnection

from domain.model import Recorded


class Projection(Protocol):
    """One read model. `schema` creates its tables and names no schema: a rebuild runs the same SQL
    in a schema of its own. Sealed fields reach it as `Ciphertext` and are stored as they are.
    """

    name: ClassVar[str]
    tables: ClassVar[tuple[str, ...]]
    types: ClassVar[Sequence[str] | None]
    """The only events it is shown; None for all."""
    compared: ClassVar[Mapping[str, str]]
    """The tables whose rows follow from the events alone, so that a second building has the same; and
    which rows those are, as a condition: one of totals that counts nothing may be there or not."""
    gathers: ClassVar[float]
    """Seconds in which events may gather to a page: what is asked for at once gathers briefly."""

    @property
    def schema(self) -> str:
        """SQL that is another whenever the rows are of another form, be it by a comment alone."""

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Bring the tables from before `page` to after it, in the transaction of `connection`.

        Several processes may do so at once, each with streams of its own. So a row follows from one stream
        alone, or adds up what streams say; such sums are written last, in the order of their keys.

        May keep states between pages. Whatever it raises undoes the page; then the events come one
        by one, and the one that fails is parked.
        """

    def forget(self) -> None:
        """Drop what is kept between pages: the tables have changed under it, or a page was undone."""


@runtime_checkable
class MovesInactiveRows(Protocol):
    """A projection whose rows are put elsewhere once they have not changed for a while. Where a row is changes
    nothing of what it says.
    """

    async def move_inactive(self, connection: AsyncConnection, until: int) -> bool:
        """Put some rows where they belong that have not changed for a while, in the caller's transaction, which no
        page shares: those that the events up to a position were the last to change. Whether there may be more.
        """

    async def move_all_inactive(self, connection: AsyncConnection) -> None:
        """Put all rows there, while nothing else uses the tables."""
