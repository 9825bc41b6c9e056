"""Cursors: they store how far a stream was handled, so that the next process can continue there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple, Protocol


class Place(NamedTuple):
    """A position and the id of its log; or the `cursor` of a stream of several logs."""

    position: int
    log: str | None = None
    cursor: str = ""


class Cursor(Protocol):
    """A store for a place: `FileCursor`, or a class of your own."""

    def load(self) -> Place | None:
        """Return the place that was saved last; None if none was."""
        ...

    def save(self, place: Place) -> None:
        """Save a place."""
        ...


class FileCursor:
    """Stores a place in a file, atomically. Only one listener may use the file at a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self) -> Place | None:
        """Return the place that was saved last; None if there is no file.

        Raises:
            ValueError: the file was not written by a cursor.
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
        """Save a place instead of the last one."""
        unfinished = self._path.with_name(f"{self._path.name}.new")
        unfinished.write_text(json.dumps(place._asdict()))
        unfinished.replace(self._path)


def to_cursor(cursor: Cursor | str | None) -> Cursor | None:
    """Return a cursor, made from a path if that is given instead."""
    return FileCursor(cursor) if isinstance(cursor, str) else cursor
