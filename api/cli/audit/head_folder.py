"""A folder with the pinned public key of another log, and the signed heads of that log."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import click

from api.cli.audit.whole_file import write_whole
from projections.audit.note import BadNote, TreeCheckpoint, checkpoint_of, parse_key

KEY, HEAD, CONTRADICTION = "key.txt", "head-{:015}.txt", "contradiction-{:015}-{}.txt"


class HeadFolder:
    """Stores the key and the heads of a log; no file in it is ever changed.

    Raises:
        ClickException: the folder cannot be made, read or written, or is of a log with another key; or the key is
            malformed.
    """

    def __init__(self, path: Path, key: str | None) -> None:
        self._path = path
        _require_key(key)
        try:
            path.mkdir(parents=True, exist_ok=True)
            kept = (path / KEY).read_text().strip() if (path / KEY).exists() else None
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{path} cannot be used: {error}") from None
        if kept and key and kept != key:
            raise click.ClickException(f"{path} is of a log with another key: {kept}")
        self.key = kept
        if key is not None:
            self.pin(key)

    def pin(self, key: str) -> None:
        """Store the key, if there is none yet; from now on no other key is accepted."""
        if self.key is None:
            self._write(KEY, f"{key}\n")
            self.key = key
            click.echo(f"Pinned the public key {key}")

    def newest(self) -> TreeCheckpoint | None:
        """The largest stored head; None without one."""
        names = sorted(file.name for file in self._path.glob("head-*.txt"))
        if not names:
            return None
        try:
            return checkpoint_of((self._path / names[-1]).read_text(), self.key or "")
        except (OSError, UnicodeDecodeError, BadNote) as error:
            raise click.ClickException(
                f"{self._path / names[-1]} cannot be used: {error}"
            ) from None

    def keep(self, note: str, size: int) -> None:
        """Store a head that extends the stored ones."""
        self._write(HEAD.format(size), note)

    def keep_contradiction(self, note: str, size: int) -> Path:
        """Keep a head that does not, beside those of before: it is signed, and so is the evidence."""
        digest = sha256(note.encode()).hexdigest()[:16]
        return self._write(CONTRADICTION.format(size, digest), note)

    def _write(self, name: str, text: str) -> Path:
        file = self._path / name
        write_whole(file, text.encode())
        return file


def _require_key(key: str | None) -> None:
    """Check the form of a key before it is pinned for good."""
    try:
        if key is not None:
            parse_key(key)
    except BadNote as error:
        raise click.BadParameter(str(error), param_hint="--key") from None
