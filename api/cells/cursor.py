"""The cursor of a stream of several logs: a position of each log, as one text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from api.cells.connection import Query
from api.settings import LOG_NAME
from domain.json_forms import format_time

MOST_LOGS = 100
"""Logs of one stream: each event carries a cursor with a position of every log."""
LONGEST = 16 * 1024
"""Characters of a cursor, which clients send in a header."""
LOG_ID = re.compile(r"[0-9A-Za-z-]{0,64}")
PART = re.compile(rf"({LOG_NAME.pattern})\.({LOG_ID.pattern})\.(?:t(-?)|)([0-9]{{1,18}})")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


class CellPosition(NamedTuple):
    """The point after which the stream of one log continues: a position, or a time while the position is unknown.

    `log` is the id of the log, once it is known.
    """

    position: int = 0
    log: str = ""
    at: datetime | None = None

    @property
    def query(self) -> Query:
        """The query parameters of a stream of the log from this point."""
        begins = str(self.position) if self.at is None else format_time(self.at)
        return [("from", begins), *([("log", self.log)] if self.log else [])]

    def __str__(self) -> str:
        since = self.position if self.at is None else f"t{(self.at - EPOCH) // MILLISECOND}"
        return f"{self.log}.{since}"


class CellCursor:
    """A position of each log, or a time. Its text can stand in a URL without encoding."""

    def __init__(self, positions: Mapping[str, CellPosition]) -> None:
        self._positions: dict[str, CellPosition] = {}
        self._parts: dict[str, str] = {}
        for name, reached in positions.items():
            self.move(name, reached)

    @classmethod
    def read(cls, text: str) -> CellCursor:
        """Parse a cursor. Raises ValueError where the text is none."""
        if len(text) > LONGEST:
            raise ValueError(f"it is longer than {LONGEST} characters")
        positions: dict[str, CellPosition] = {}
        for part in text.split("~"):
            if (found := PART.fullmatch(part)) is None or found[1] in positions:
                raise ValueError("it is not the id of a frame")
            sign, number = found[3], int(found[4])
            positions[found[1]] = (
                CellPosition(number, found[2])
                if sign is None
                else _since(found[2], int(f"{sign}{number}"))
            )
        return cls(positions)

    def move(self, name: str, reached: CellPosition) -> None:
        """Set the position of a log."""
        self._positions[name] = reached
        self._parts[name] = f"{name}.{reached}"

    def get(self, name: str) -> CellPosition | None:
        """The position of a log; None where the cursor has none."""
        return self._positions.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __str__(self) -> str:
        return "~".join(self._parts.values())


def _since(log: str, milliseconds: int) -> CellPosition:
    try:
        return CellPosition(0, log, EPOCH + milliseconds * MILLISECOND)
    except OverflowError:
        raise ValueError("it has a time that does not exist") from None
