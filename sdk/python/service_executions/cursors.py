"""Where a listener goes on: kept in memory, or in a file, so that it outlives the process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple, Protocol


class Place(NamedTuple):
    """A position, and the id of the log that it is of; or the `cursor` of a stream of several logs."""

    position: int
    log: str | None = None
    cursor: str = ""


class Cursor(Protocol):
    """Where a place is kept: `FileCursor`, or what you make of it."""

    def load(self) -> Place | None:
        """The place that was saved last."""
        ...

    def save(self, place: Place) -> None:
        """Keep a place."""
        ...


class FileCursor:
    """A place in a file. It is written whole or not at all; only one listener may use it at a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self) -> Place | None:
        """The place that was saved last; None where there is no file.

        Raises:
            ValueError: the file is not one that a cursor wrote.
        """
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None
        try:
            found = json.loads(text)
            return Place(int(found["position"]), found.get("log"), found.get("cursor", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{self._path} is not the file of a cursor") from None

    def save(self, place: Place) -> None:
        """Keep a place in the stead of the last one."""
        unfinished = self._path.with_name(f"{self._path.name}.new")
        unfinished.write_text(json.dumps(place._asdict()))
        unfinished.replace(self._path)


def to_cursor(cursor: Cursor | str | None) -> Cursor | None:
    """A cursor, also where only its file was named."""
    return FileCursor(cursor) if isinstance(cursor, str) else cursor
