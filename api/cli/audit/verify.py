"""`executions audit verify`: the whole log against its tree, and against heads that somebody has kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from api.cli.progress_bar import progress
from api.cli.projections import on_log
from api.embedded_postgres.data_dir import DataDir
from api.server import keys_of_log, require_key_of_log
from api.settings import Settings
from domain.eventlog.store import Store
from domain.integrity.fault import Fault
from projections.audit.check import Start, connected, earlier_fault, head_faults, start, tree_faults
from projections.audit.note import Signer, origin_of

MOST_NAMED = 100


def verify_tree(data_dir: Path | None, kept: Sequence[Path]) -> None:
    """Check all of it; exit with 1 where something is wrong.

    Where the master key of the log is in the data directory, the head must be signed by the key of the log.
    """
    check = _Check([_text(file) for file in kept])
    on_log(data_dir, check.run, check.take_key)
    if check.faults:
        raise click.ClickException(f"{check.faults} faults were found")
    click.echo("All of it is what was signed.")


class _Check:
    """Prints the first faults, and counts them all."""

    def __init__(self, notes: Sequence[str]) -> None:
        self.faults = 0
        self._notes = notes
        self._secret: bytes | None = None

    def take_key(self, conninfo: str, settings: Settings, folder: DataDir) -> None:
        require_key_of_log(conninfo, settings, folder)
        if folder.master_key_file.exists():
            self._secret = keys_of_log(conninfo, settings, DataDir(folder.path)).secret

    async def run(self, conninfo: str, schema: str, _: Store) -> None:
        async with connected(conninfo, schema) as connection:
            found = await start(connection)
            key = self._public_key(origin_of(found.log_id), found)
            for fault in head_faults(found, key):
                self._add(fault)
            with progress("Verifying the tree") as reached:
                async for fault in tree_faults(connection, found, reached):
                    self._add(fault)
            for note in self._notes:
                key_of_note = self._public_key(note.partition("\n")[0], found)
                if wrong := await earlier_fault(connection, found, note, key_of_note):
                    self._add(wrong)
        size = 0 if found.head is None else found.head.size
        later = found.position - size
        click.echo(
            f"Checked {size} events{f'; {later} are not in the tree yet' if later > 0 else ''}."
        )
        click.echo(f"Public key: {key}")

    def _add(self, fault: Fault) -> None:
        self.faults += 1
        if self.faults <= MOST_NAMED:
            click.echo(str(fault))

    def _public_key(self, origin: str, found: Start) -> str:
        """Before a restore the log had another id, and so another key."""
        if self._secret is not None:
            return Signer(self._secret, origin).public_key
        return "" if found.head is None else found.head.public_key


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from None
