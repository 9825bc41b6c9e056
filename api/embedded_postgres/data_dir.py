"""The data directory: a folder with the secrets and the embedded database of the service."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from api.settings import SetupError, long_enough

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class DataDir:
    """A data directory, which only its user may read.

    Only one from `open` makes missing files (`may_make`); with all others a missing folder or secret is a SetupError.
    """

    path: Path
    may_make: bool = False

    @classmethod
    def open(cls, path: Path) -> DataDir:
        """Make the folder, if it is missing. Raises SetupError where it cannot be made or written to."""
        try:
            if not path.is_dir():
                path.mkdir(parents=True, mode=0o700, exist_ok=True)
                # As root, PostgreSQL runs as another user, who may enter its own folder below, but not list this one.
                path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        except OSError as error:
            raise SetupError(
                f"the data directory {path} cannot be made: {error.strerror}"
            ) from None
        _require_writable(path)
        return cls(path.resolve(), may_make=True)

    @property
    def has_database(self) -> bool:
        """Whether the folder has an embedded database."""
        return not self._lacks(self.postgres / "data" / "PG_VERSION")

    @property
    def is_used(self) -> bool:
        """Whether a server was ever started with this folder."""
        return not (self._lacks(self.admin_token_file) and self._lacks(self.master_key_file))

    def missing(self, what: str = "log") -> SetupError:
        """The error for a missing file, which most likely means that the wrong folder was named."""
        return SetupError(
            f"there is no {what} in {self.path}: is --data-dir (EXECUTIONS_DATA_DIR) right? "
            "`executions serve` makes it"
        )

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def admin_token_file(self) -> Path:
        return self.path / "admin.token"

    @property
    def master_key_file(self) -> Path:
        return self.path / "master.key"

    @property
    def next_master_key_file(self) -> Path:
        return self.path / "master.key.next"

    @property
    def address_file(self) -> Path:
        return self.path / "address"

    def admin_token(self) -> str:
        """Return the administrator's token, which is made at the first call."""
        try:
            return long_enough(self._secret(self.admin_token_file))
        except ValueError as error:
            raise SetupError(f"the token in {self.admin_token_file} {error}") from None

    def master_key(self) -> bytes:
        """Return the 32 bytes that wrap every data key, which are made at the first call."""
        if not self.may_make and self._lacks(self.master_key_file):
            raise SetupError(
                f"there is no master.key in {self.path}, and this log has one: put it there from a backup, or from "
                "the data directory of another server of this log; or is --data-dir (EXECUTIONS_DATA_DIR) wrong? "
                "What the key sealed cannot be read without it"
            )
        return self._key(self.master_key_file)

    def _key(self, file: Path) -> bytes:
        try:
            key = base64.b64decode(self._secret(file), b"-_", validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise SetupError(
                f"{file} does not hold a key of {KEY_BYTES} bytes in base64: "
                "put the right one back from a backup; what it sealed cannot be read without it"
            )
        return key

    def next_master_key(self) -> bytes:
        """Return the key that will replace the master key, which is made at the first call."""
        with _readable(self.next_master_key_file):
            if not self.next_master_key_file.exists():
                with suppress(FileExistsError):
                    _make_secret(self.next_master_key_file)
        return self._key(self.next_master_key_file)

    def adopt_next_master_key(self, former: str) -> Path:
        """Replace the master key by the next one. Return the file of the former key, which is named by its id."""
        kept = self.path / f"master.key.former-{former}"
        with _readable(self.next_master_key_file):
            if self.next_master_key_file.exists():
                with suppress(FileExistsError):
                    os.link(self.master_key_file, kept)
                _sync_folder(self.path)
                self.next_master_key_file.replace(self.master_key_file)
                _sync_folder(self.path)
        return kept

    def _secret(self, path: Path) -> str:
        with _readable(path):
            if not path.exists():
                if not self.may_make:
                    raise self.missing(path.name)
                with suppress(FileExistsError):
                    _make_secret(path)
            return _read_secret(path)

    def _lacks(self, file: Path) -> bool:
        with _readable(file):
            return not file.exists()


def _read_secret(path: Path) -> str:
    if path.stat().st_mode & 0o077:
        raise SetupError(
            f"{path} can be read by others: find out who may have, then run chmod 600 {path}"
        )
    secret = path.read_text().strip()
    if not secret:
        raise SetupError(f"{path} is empty: put its content back, or delete it to get a new one")
    return secret


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}") from None


def _require_writable(folder: Path) -> None:
    """Write a file to test the folder, as a file system may refuse what the mode allows."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SetupError(
            f"the data directory {folder} cannot be written to: {error.strerror}"
        ) from None


def _make_secret(path: Path) -> None:
    """Make a file with its whole content atomically, or raise FileExistsError."""
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(descriptor)
        os.link(unfinished, path)  # fails where another process has made the file
    finally:
        Path(unfinished).unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
