"""The protocol that every projection follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from psycopg import AsyncConnection

from domain.model import Recorded


class Projection(Protocol):
    """One read model, kept in its own tables. Sealed fields reach it as `Ciphertext` and are stored sealed."""

    name: ClassVar[str]
    tables: ClassVar[tuple[str, ...]]
    types: ClassVar[Sequence[str] | None]
    """The event types that the projection applies; None for all."""
    compared: ClassVar[Mapping[str, str]]
    """The tables whose rows follow from the events alone, each with an SQL condition for the rows that verification
    compares. A total of zero, for example, may be stored or not, so it is not compared."""
    gathers: ClassVar[float]
    """Seconds for which the runner gathers events into one page. Short for views that are read right after a write."""

    @property
    def schema(self) -> str:
        """SQL that creates the tables, without a schema name: a rebuild runs it in a schema of its own.

        The text must change whenever the form of the rows changes, if only in a comment: then the view begins again.
        """

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Apply the events of `page` to the tables, in the transaction of `connection`.

        Several processes may apply events at once, each those of its own streams. So a row must follow from one
        stream alone, or be a sum over streams. Sums are written last and in the order of their keys, which prevents
        deadlocks.

        The projection may cache states between pages. If it raises, the page is undone; the events are then applied
        one by one, and the event that fails is parked.
        """

    def forget(self) -> None:
        """Drop the cached states, because the tables were changed by another process or a page was undone."""


@runtime_checkable
class MovesInactiveRows(Protocol):
    """A projection that moves rows to another table once they have not changed for a while. Readers see the same rows
    in either table.
    """

    async def move_inactive(self, connection: AsyncConnection, until: int) -> bool:
        """Move some rows whose last change is an event up to the position `until`; return whether more may be left.

        Runs in a transaction of its own, in which no page is applied.
        """

    async def move_all_inactive(self, connection: AsyncConnection) -> None:
        """Move all rows, while nothing else uses the tables."""
