"""Minimal views for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from domain.model import Recorded


class Seen:
    """A view that records the positions of its events, and fails on demand."""

    name: ClassVar[str] = "seen"
    schema: ClassVar[str] = "CREATE TABLE IF NOT EXISTS seen (position bigint PRIMARY KEY)"
    tables: ClassVar[tuple[str, ...]] = ("seen",)
    gathers: ClassVar[float] = 0.0
    types: ClassVar[Sequence[str] | None] = None
    compared: ClassVar[Mapping[str, str]] = {"seen": "true"}

    def __init__(self) -> None:
        self.stumbles: dict[int, Exception] = {}
        self.pages: list[int] = []
        self.forgotten = 0

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        self.pages.append(len(page))
        for event in page:
            insert = SQL("INSERT INTO {} VALUES (%s)").format(Identifier(self.name))
            await connection.execute(insert, (event.position,))
            if event.position in self.stumbles:
                raise self.stumbles[event.position]

    def forget(self) -> None:
        self.forgotten += 1


class SeenCreations(Seen):
    """The same, only for creations."""

    types: ClassVar[Sequence[str] | None] = ("execution.created",)


class SeenToo(Seen):
    """A second view of the same kind."""

    name: ClassVar[str] = "seen_too"
    schema: ClassVar[str] = "CREATE TABLE IF NOT EXISTS seen_too (position bigint PRIMARY KEY)"
    tables: ClassVar[tuple[str, ...]] = ("seen_too",)
    compared: ClassVar[Mapping[str, str]] = {"seen_too": "true"}
