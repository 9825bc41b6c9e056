"""Where the server of a data directory is, for others on this machine: a file that it keeps locked.

The kernel lets go of the lock however a server dies. So an address is never believed that was left
behind, and no token goes to another program that listens there now.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


class AddressFile:
    """The file in which one server of a data directory says where it is."""

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._held: IO[str] | None = None

    def publish(self) -> None:
        """Say so, unless another server does; call it again, and it is said when that one ends."""
        if self._held is None:
            with suppress(OSError):  # it is a convenience, and no reason to end
                self._held = self._lock()

    def withdraw(self) -> None:
        """Remove the file, if it is ours."""
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
                raise FileNotFoundError  # its last owner has removed it meanwhile
            file.truncate(0)
            file.write(f"{self._url}\n")
            file.flush()
        except OSError:
            file.close()
            raise
        return file


@contextmanager
def publish_address(path: Path, url: str) -> Iterator[AddressFile]:
    """An address in its file while the block runs."""
    sign = AddressFile(path, url)
    sign.publish()
    try:
        yield sign
    finally:
        sign.withdraw()
