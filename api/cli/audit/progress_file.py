"""The file with the progress of a check of the whole log, from which an interrupted check continues."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from api.cli.audit.whole_file import write_whole
from projections.audit.leaf import HASH_BYTES

KIND = "executions audit verify 1"


@dataclass
class CheckProgress:
    """The progress of a check: the head with which it began, the hashes of the full tiles that were checked, and the
    faults that were found.
    """

    origin: str
    head: str
    checked: list[bytes] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class ProgressFile:
    """Reads and writes a `CheckProgress`, atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> CheckProgress | None:
        """Read the progress; None where there is no file.

        Raises:
            ClickException: the file is of another kind, or cannot be read.
        """
        if not self._path.exists():
            return None
        try:
            kept = json.loads(self._path.read_bytes())
            if kept.pop("kind") != KIND:
                raise ValueError
            hashes = b64decode(kept["checked"], validate=True)
            kept["checked"] = [
                hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)
            ]
            return CheckProgress(**kept)
        except (ValueError, KeyError, TypeError, AttributeError):
            reason = "is not the state of a check that was interrupted: name another file"
            raise click.ClickException(f"{self._path} {reason}") from None
        except OSError as error:
            raise click.ClickException(f"{self._path} cannot be read: {error.strerror}") from None

    def write(self, progress: CheckProgress) -> None:
        """Write the progress.

        Raises:
            ClickException: the file cannot be written.
        """
        checked = b64encode(b"".join(progress.checked)).decode()
        kept = {"kind": KIND, **asdict(progress), "checked": checked}
        write_whole(self._path, json.dumps(kept).encode())

    def remove(self) -> None:
        """Remove the file, as the check is complete."""
        self._path.unlink(missing_ok=True)
