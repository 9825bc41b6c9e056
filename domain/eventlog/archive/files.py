"""The files of the archive, in a folder or in a bucket of an object store. A file is written once and never changed.

Reading from a bucket, and writing, need the libraries of the extra `archive`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from threading import get_ident
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from domain.errors import ArchiveAway, DamagedFile

LIBRARIES = ("duckdb", "obstore")
CHUNK = 8 * 1024 * 1024
"""Bytes of a file that are downloaded at once."""
QUERY = re.compile(r"(\w+://[^\s?]*)\?\S*")
RETRIES = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}
"""Retries of a bucket that does not answer: few, as a client may wait for a page of log lines."""
CLIENT = {"connect_timeout": "5s", "allow_http": True}
"""HTTP is allowed, as an endpoint in the same network may have no TLS; the operator configures it."""
READING: dict[str, Any] = {
    "client_options": {**CLIENT, "read_timeout": "10s", "timeout": "10m"},
    "retry_config": RETRIES,
}
WRITING: dict[str, Any] = {
    "client_options": {**CLIENT, "timeout": "30m"},
    "retry_config": RETRIES,
}
"""A file is written by one request, which is answered after all of it was sent: hence the long timeout."""


class ArchiveFailed(Exception):
    """Rows could not be archived, or not be removed from their table; the message says why."""


def is_installed() -> bool:
    """Whether the libraries of the extra `archive` are installed."""
    return all(find_spec(name) is not None for name in LIBRARIES)


def require_installed() -> None:
    """Check that the libraries of the extra `archive` are installed.

    Raises:
        ArchiveFailed: one is missing.
    """
    if not is_installed():
        raise ArchiveFailed(
            f"{' and '.join(LIBRARIES)} are not installed: they are in executions[archive]"
        )


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


class ArchiveFiles:
    """The files under a URL: `file:`, `s3:`, `gs:` or `az:`. Its methods block, so call them in a thread.

    `reading`: options of reads from a bucket, with timeouts; `READING` where it is left out.
    """

    def __init__(self, url: str, reading: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self._reading_options = reading
        parts = urlsplit(url)
        self._folder = Path(unquote(parts.path)) if parts.scheme == "file" else None
        self._readable: Any = None
        self._writable: Any = None

    @property
    def is_local(self) -> bool:
        """Whether the archive is a folder of this machine."""
        return self._folder is not None

    @property
    def location(self) -> str:
        """The URL in a normal form."""
        return self.url.rstrip("/") if self._folder is None else self._folder.resolve().as_uri()

    def is_made(self) -> bool:
        """Whether the folder exists; True for a bucket."""
        return self._folder is None or self._folder.is_dir()

    def has(self, file: str) -> bool:
        """Whether a file exists.

        Raises:
            ArchiveFailed: a library is missing.
            ArchiveAway: the archive cannot be reached.
        """
        if self._folder is not None:
            return (self._folder / file).is_file()
        require_installed()
        import obstore

        try:
            obstore.head(self._reading(), file)
        except FileNotFoundError:
            return False
        except Exception as error:
            raise unreachable(first_line(error)) from error
        return True

    def size(self, file: str) -> int | None:
        """The size in bytes of a file in a folder of this machine; None where the file does not exist."""
        path = self._folder and self._folder / file
        return path.stat().st_size if path and path.is_file() else None

    def put(self, file: str, content: bytes) -> bool:
        """Write a file, unless it exists; return whether it was written.

        Raises:
            ArchiveFailed: the file cannot be written.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            # Bytes take half the time of a file object: the content is one request anyway.
            obstore.put(self._writing(), file, content, mode="create")
        except AlreadyExistsError:
            return False
        except Exception as error:
            raise ArchiveFailed(f"{file} cannot be written: {first_line(error)}") from error
        if self._folder is not None:
            _make_durable(self._folder, self._folder / file)
        return True

    def read_parts(self, file: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read parts of a file, each given by its offset and its length. A part beyond the end of the file is shorter.

        Raises:
            DamagedFile: there is no such file.
            ArchiveAway: the archive cannot be reached.
        """
        if self._folder is not None:
            with self.local(file, self._folder) as path, path.open("rb") as source:
                return [_part(source, *part) for part in parts]
        require_installed()
        import obstore

        starts, lengths = [part[0] for part in parts], [part[1] for part in parts]
        try:
            found = obstore.get_ranges(self._reading(), file, starts=starts, lengths=lengths)
        except FileNotFoundError:
            raise missing(file) from None
        except Exception as error:
            raise unreachable(first_line(error)) from error
        return [bytes(part) for part in found]

    @contextmanager
    def local(self, file: str, work: Path) -> Iterator[Path]:
        """The local path of a file: of the file itself, or of a copy in `work` for the block.

        Raises:
            DamagedFile: there is no such file.
            ArchiveAway: the archive cannot be reached.
        """
        if self._folder is not None:
            path = self._folder / file
            if not self.is_made():
                raise unreachable(f"there is no folder {self._folder}")
            if not path.is_file():
                raise missing(file)
            yield path
            return
        copy = work / file.replace("/", "-")
        try:
            self._download(file, copy)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def fetch(self, file: str, digest: str, cache: Path) -> Path:
        """The local path of a file: of the file itself, or of a copy in the folder `cache`, which stays.

        Raises:
            DamagedFile: there is no such file, or it has another digest.
            ArchiveAway: the archive cannot be reached.
        """
        if self._folder is not None:
            with self.local(file, cache) as path:
                require_digest(file, path, digest)
                return path
        copy = cache / f"{digest}.parquet"
        if not copy.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            part = cache / f"{digest}.{os.getpid()}.{get_ident()}.part"
            try:
                self._download(file, part)
                require_digest(file, part, digest)
                part.rename(copy)
            finally:
                part.unlink(missing_ok=True)
        return copy

    def _download(self, file: str, target: Path) -> None:
        import obstore

        try:
            with target.open("wb") as copy:
                for chunk in obstore.get(self._reading(), file).stream(min_chunk_size=CHUNK):
                    copy.write(chunk)
        except FileNotFoundError:
            raise missing(file) from None
        except Exception as error:
            raise unreachable(first_line(error)) from error

    def _reading(self) -> Any:
        self._readable = self._readable or self._bucket(self._reading_options or READING)
        return self._readable

    def _writing(self) -> Any:
        from obstore.store import LocalStore

        if self._writable is None:
            folder = self._folder
            self._writable = LocalStore(folder, mkdir=True) if folder else self._bucket(WRITING)
        return self._writable

    def _bucket(self, options: Mapping[str, Any]) -> Any:
        from obstore.store import from_url

        return from_url(self.url, **options)


def missing(file: str) -> DamagedFile:
    """The error for an archive file that does not exist."""
    return DamagedFile(
        f"The archive file `{file}` is missing.", reason="it is not there", file=file
    )


def damaged_file(file: str, reason: str) -> DamagedFile:
    """The error for an archive file that was changed after it was written."""
    return DamagedFile(
        f"The archive file `{file}` is not what was written.", reason=reason, file=file
    )


def unreachable(reason: str) -> ArchiveAway:
    """The error for an archive that cannot be reached."""
    return ArchiveAway(reason=reason)


def require_digest(file: str, path: Path, digest: str) -> None:
    """Check the SHA-256 of a file.

    Raises:
        DamagedFile: the file has another digest.
    """
    if digest_of(path) != digest:
        raise damaged_file(file, "its bytes have another digest")


def _part(source: BinaryIO, start: int, length: int) -> bytes:
    source.seek(start)
    return source.read(length)


def _make_durable(folder: Path, file: Path) -> None:
    """Flush a file and its folders to the disk, as rows leave their table once they are in the file."""
    for path in (file, *file.parents):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == folder:
            return


def first_line(error: Exception) -> str:
    """The first line of the error of a library, without the query of a URL, which may be a signature."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return QUERY.sub(r"\1", line)
