"""Batches of commands in files, while the service is away; also those of processes that have ended."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from service_executions.ids import new_id

SUFFIX = ".batch"


MOST_COMMANDS, MOST_BYTES = 1_000, 8 << 20


@dataclass
class Batch:
    """The commands of one call, each a line of JSON, and its idempotency key; and its file, once it has one."""

    key: str
    lines: list[bytes] = field(default_factory=list[bytes])
    size: int = 0
    is_sent: bool = False
    """Whether it was tried: then nothing may be added, as its key is that of these very lines."""
    file: Path | None = None
    written: int = 0

    @property
    def body(self) -> bytes:
        """All lines."""
        return b"\n".join(self.lines)

    def takes(self, line: bytes) -> bool:
        """Whether there is room for another command."""
        fits = len(self.lines) < MOST_COMMANDS and self.size + len(line) <= MOST_BYTES
        return not self.lines or (fits and not self.is_sent)

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.size += len(line)


class Spool:
    """A folder of this process's own, beside those of others that write to the same service."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / new_id("spool")
        self._lock: IO[bytes] | None = None
        self._adopted: list[IO[bytes]] = []
        """Locks that are held until this process ends, so that no other takes the same batches."""

    def adopt(self) -> Iterator[Batch]:
        """The batches that processes left here which have ended, in the order of each."""
        for folder in sorted(self._root.glob("spool_*")) if self._root.is_dir() else ():
            lock = None if folder == self._folder else _lock(folder)
            if lock is not None:
                self._adopted.append(lock)
                files = sorted(folder.glob(f"*{SUFFIX}"))
                yield from map(_read, files)
                if not files:
                    _remove(folder)

    def keep(self, batch: Batch) -> None:
        """Write to a batch's file what is not in it yet. Raises OSError."""
        if batch.written == len(batch.lines):
            return
        if self._lock is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(self._folder)
        file = batch.file or self._folder / f"{batch.key}{SUFFIX}"
        new = batch.lines[batch.written :]
        with os.fdopen(
            os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab"
        ) as opened:
            opened.write(b"".join(line + b"\n" for line in new))
        batch.file, batch.written = file, len(batch.lines)

    def done(self, batch: Batch) -> None:
        """Remove what was sent."""
        if batch.file is not None:
            batch.file.unlink(missing_ok=True)
            if not any(batch.file.parent.glob(f"*{SUFFIX}")) and batch.file.parent != self._folder:
                _remove(batch.file.parent)

    def close(self) -> None:
        """Leave what was not sent to another process."""
        while self._adopted:
            self._adopted.pop().close()
        if self._lock is not None:
            if not any(self._folder.glob(f"*{SUFFIX}")):
                _remove(self._folder)
            self._lock.close()
            self._lock = None


def default_root(url: str) -> Path:
    """Where batches for a service wait, unless another place is named."""
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state else Path.home() / ".local" / "state"
    return base / "service-executions" / hashlib.sha256(url.encode()).hexdigest()[:16]


def _lock(folder: Path) -> IO[bytes] | None:
    """The lock of a folder; None where the process lives that it is of."""
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
    """A batch from its file, without a line of which the last process did not write the end."""
    lines = file.read_bytes().split(b"\n")[:-1]
    batch = Batch(file.name.removesuffix(SUFFIX), is_sent=True, file=file)
    for line in lines:
        batch.add(line)
    batch.written = len(lines)
    return batch


def _remove(folder: Path) -> None:
    with suppress(OSError):
        (folder / "lock").unlink(missing_ok=True)
        folder.rmdir()
