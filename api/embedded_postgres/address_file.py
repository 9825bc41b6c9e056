"""The file with the URL of the server of a data directory, for other programs on this machine. The server keeps it locked.

The kernel releases the lock in whatever way a server ends. So the URL of a server that has ended is never used, and no
token is sent to another program that listens there now.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


class AddressFile:
    """The file that one server of a data directory writes and locks."""

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._held: IO[str] | None = None

    def publish(self) -> None:
        """Write the URL, unless another server holds the file. Call this again to take over when that server has ended."""
        if self._held is None:
            with suppress(OSError):  # the file is a convenience: no reason to end the server
                self._held = self._lock()

    def withdraw(self) -> None:
        """Remove the file, if this server holds it."""
        if self._held is not None:
            with suppress(OSError):
                self._path.unlink()
            self._held.close()
            self._held = None

    def _lock(self) -> IO[str]:
        file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600), "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
                raise FileNotFoundError  # its last holder has removed it meanwhile
            file.truncate(0)
            file.write(f"{self._url}\n")
            file.flush()
        except OSError:
            file.close()
            raise
        return file


@contextmanager
def publish_address(path: Path, url: str) -> Iterator[AddressFile]:
    """Publish a URL in a file while the block runs."""
    file = AddressFile(path, url)
    file.publish()
    try:
        yield file
    finally:
        file.withdraw()
