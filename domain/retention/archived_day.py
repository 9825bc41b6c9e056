"""A day whose log lines are archived, and the archive files that have them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from domain.model import (
    Aggregate,
    Context,
    Event,
    Recorded,
    State,
    Value,
    aggregate_id,
)
from domain.recording import Recording


@dataclass(frozen=True)
class ArchiveFile(State):
    """An archive file of log lines with ids in [first, last].

    `file`: its path in the archive; `digest`: the SHA-256 of its bytes in hexadecimal.
    """

    file: str
    first: int
    last: int
    lines: int
    bytes: int
    digest: str

    def overlaps(self, other: ArchiveFile) -> bool:
        """Whether both ranges of ids overlap."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class ArchivedDay(Aggregate):
    """The archive files of one day, in the order of their first ids. The id is the day, such as 2026-10-28."""

    files: tuple[ArchiveFile, ...] = ()


class _Written(Value):
    file: str
    first: int
    last: int
    lines: int
    bytes: int
    digest: str

    @property
    def written(self) -> ArchiveFile:
        """The members as an `ArchiveFile`."""
        return ArchiveFile(self.file, self.first, self.last, self.lines, self.bytes, self.digest)


class LogsArchived(_Written, Event):
    """Log lines of a day were archived in a file. The file replaces earlier ones with the same lines."""

    type: ClassVar[str] = "logs.archived"

    def apply(self, state: ArchivedDay | None, recorded: Recorded) -> ArchivedDay:
        written = self.written
        former = state.files if state else ()
        kept = [file for file in former if not file.overlaps(written)]
        files = tuple(sorted((*kept, written), key=lambda file: file.first))
        return ArchivedDay(aggregate_id(recorded.stream), files)


class ArchiveLogs(_Written, Recording[ArchivedDay]):
    """Record that log lines of a day are in an archive file. Only the server sends this."""

    wire_name: ClassVar[str] = "archiveLogs"

    def decide(self, state: ArchivedDay | None, context: Context) -> Iterator[Event]:
        if state is None or self.written not in state.files:
            yield LogsArchived(**vars(self.written))


EVENTS: tuple[type[Event], ...] = (LogsArchived,)
