"""Stores batches of commands in files while the service is unavailable, and adopts those of processes that have ended."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pydantic_core import from_json

from service_executions.ids import new_id

SUFFIX = ".batch"


MOST_COMMANDS, MOST_BYTES = 1_000, 8 << 20
"""Commands, and bytes of them, that a batch may have."""


@dataclass
class Batch:
    """The commands of one request, each a line of JSON, with an idempotency key, and a file if they were stored."""

    key: str
    lines: list[bytes] = field(default_factory=list[bytes])
    size: int = 0
    is_sent: bool = False
    """Whether it was sent: then no line may be added, because the idempotency key belongs to exactly these lines."""
    file: Path | None = None
    written: int = 0
    """The number of lines that are in the file."""

    @property
    def body(self) -> bytes:
        """The body of the request: all lines."""
        return b"\n".join(self.lines)

    def takes(self, line: bytes) -> bool:
        """Whether another command may be added."""
        fits = len(self.lines) < MOST_COMMANDS and self.size + len(line) <= MOST_BYTES
        return not self.lines or (fits and not self.is_sent)

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.size += len(line)


class Spool:
    """A folder with the batches of this process, beside those of other processes that send to the same service."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / new_id("spool")
        self._lock: IO[bytes] | None = None
        self._adopted: list[IO[bytes]] = []
        """The locks of adopted folders, held until this process ends, so that no other process adopts the same batches."""

    def of_child(self) -> Spool:
        """Return a spool for a child that this process has forked, without the folders of this process."""
        return Spool(self._root)

    def adopt(self) -> Iterator[Batch]:
        """Yield the batches that ended processes have left, those of each process in their order."""
        for folder in sorted(self._root.glob("spool_*")) if self._root.is_dir() else ():
            lock = None if folder == self._folder else _lock(folder)
            if lock is not None:
                self._adopted.append(lock)
                files = sorted(folder.glob(f"*{SUFFIX}"))
                for file in files:
                    if (batch := _read(file)).lines:
                        yield batch
                    else:
                        file.unlink(missing_ok=True)
                if not files:
                    _remove(folder)

    def keep(self, batch: Batch) -> None:
        """Write the lines of a batch to its file that are not in it yet. Raises OSError if that fails."""
        if batch.written == len(batch.lines):
            return
        if self._lock is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(self._folder)
        file = batch.file or self._folder / f"{batch.key}{SUFFIX}"
        new = batch.lines[batch.written :]
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        batch.file, before = file, os.fstat(descriptor).st_size
        try:
            with os.fdopen(descriptor, "ab") as opened:
                opened.write(b"".join(line + b"\n" for line in new))
        except OSError:
            with suppress(OSError):  # the lines are written again, not behind a part of one
                os.truncate(file, before)
            raise
        batch.written = len(batch.lines)

    def done(self, batch: Batch) -> None:
        """Remove the file of a batch that was sent."""
        if batch.file is not None:
            batch.file.unlink(missing_ok=True)
            if not any(batch.file.parent.glob(f"*{SUFFIX}")) and batch.file.parent != self._folder:
                _remove(batch.file.parent)

    def close(self) -> None:
        """Release the folders, so that another process can adopt the batches that were not sent."""
        while self._adopted:
            self._adopted.pop().close()
        if self._lock is not None:
            if not any(self._folder.glob(f"*{SUFFIX}")):
                _remove(self._folder)
            self._lock.close()
            self._lock = None


def default_root(url: str) -> Path:
    """Return the default folder for batches to a service."""
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state else Path.home() / ".local" / "state"
    return base / "service-executions" / hashlib.sha256(url.encode()).hexdigest()[:16]


def _lock(folder: Path) -> IO[bytes] | None:
    """Lock a folder; return None if the process to which it belongs is still running."""
    with suppress(OSError):
        file = (folder / "lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file
    return None


def _read(file: Path) -> Batch:
    """Return the batch in a file, without lines that are no whole JSON, as after a loss of power."""
    lines = [line for line in file.read_bytes().split(b"\n")[:-1] if _is_whole(line)]
    batch = Batch(file.name.removesuffix(SUFFIX), is_sent=True, file=file)
    for line in lines:
        batch.add(line)
    batch.written = len(lines)
    return batch


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(from_json(line), dict)
    except ValueError:
        return False


def _remove(folder: Path) -> None:
    with suppress(OSError):
        (folder / "lock").unlink(missing_ok=True)
        folder.rmdir()
