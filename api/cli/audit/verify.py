"""`executions audit verify`: compares the whole log with its tree, and with heads that were stored elsewhere."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import click

from api.cli.audit.progress_file import CheckProgress, ProgressFile
from api.cli.audit.stamps import check_stamp
from api.cli.open_log import run_on_log
from api.cli.progress_bar import progress
from api.embedded_postgres.data_dir import DataDir
from api.embedded_postgres.master_key import has_master_key
from api.log_keys import keys_of_log, require_key_of_log
from api.settings import Settings
from domain.eventlog.store import Store
from domain.integrity.fault import Fault
from projections.audit.access.check import access_faults, end_of
from projections.audit.access.retired import Retired, read_retired
from projections.audit.check import (
    KEPT_HEAD,
    PART,
    NotCovered,
    TreeSnapshot,
    connect,
    earlier_fault,
    former_log,
    head_faults,
    start,
    tree_faults,
)
from projections.audit.note import Signer, notes_in, origin_of
from projections.audit.tiles import WIDTH

MOST_NAMED = 100
"""Faults that are printed."""
SAVE_EVERY = 5.0
"""Seconds between two writes of the progress."""
Compare = Callable[[str, str], Awaitable[Fault | None]]
"""Compares the tree with a kept head (the note, and the public key of the log)."""
BUILT_BY = "the work process builds the tree"


class NotAllChecked(click.ClickException):
    """No fault was found, but not all could be checked yet; a later check can."""

    exit_code = 75


def verify_tree(
    data_dir: Path | None, kept: Sequence[Path], state: Path | None, certificate: Path | None
) -> None:
    """Check the whole log; exit with 1 where something is wrong, with 75 if the tree does not have all events yet.

    Where the master key of the log is in the data directory, the head must be signed by the key of the log.
    """
    notes = [note for file in kept for note in notes_in(_text(file))]
    check = _Check(notes, None if state is None else ProgressFile(state))
    for file in kept:
        if wrong := check_stamp(file, certificate):
            check.add(wrong)
    run_on_log(data_dir, check.run, check.take_key)
    if check.faults:
        number = len(check.faults)
        count = "1 fault was found" if number == 1 else f"{number} faults were found, first of all"
        raise click.ClickException(f"{count}: {check.faults[0]}")
    if check.waits:
        raise NotAllChecked(
            "what is in the tree is what was signed, but not all could be checked yet: "
            f"run this again when the tree has all events ({BUILT_BY})"
        )
    click.echo("All of it is what was signed.")


class _Check:
    """One check, which prints the first faults and collects all of them."""

    def __init__(self, notes: Sequence[str], file: ProgressFile | None) -> None:
        self.faults: list[str] = []
        self.waits = False
        """Whether something can be checked only when the tree has been built further."""
        self._notes = list(notes)
        self._file = file
        self._kept = file.read() if file else None
        self._saved_at = time.monotonic()
        self._secret: bytes | None = None

    def take_key(self, conninfo: str, settings: Settings, folder: DataDir) -> None:
        require_key_of_log(conninfo, settings, folder)
        if has_master_key(settings, folder):
            self._secret = keys_of_log(conninfo, settings, DataDir(folder.path)).secret

    async def run(self, conninfo: str, schema: str, _: Store) -> None:
        async with connect(conninfo, schema) as connection:
            found = self._log_of_head(await start(connection))
            key = self._public_key(origin_of(found.log_id), found)
            work = self._begin(found)
            for fault in head_faults(found, key):
                self.add(fault)
            with progress("Verifying the tree") as show:

                def on_progress(position: int, end: int) -> None:
                    show(position, end)
                    if self._file and time.monotonic() - self._saved_at > SAVE_EVERY:
                        self._save(work)

                try:
                    async for fault in tree_faults(connection, found, on_progress, work.checked):
                        self.add(fault)
                except BaseException:
                    self._save(work)
                    raise
            await self._compare_kept(found, partial(earlier_fault, connection, found))
            end = await end_of(connection)
            with progress("Verifying the access log") as show:
                async for fault in access_faults(connection, end, show):
                    self.add(fault)
            if end is not None:
                retired = _describe_retired(await read_retired(connection))
                click.echo(f"Checked {end.id} entries of the access log{retired}.")
        self._conclude(found, key)

    def _log_of_head(self, found: TreeSnapshot) -> TreeSnapshot:
        """The tree as that of the log's former id, if its head was signed before a restore; else as it is."""
        origin = found.head.origin if found.head else ""
        before = former_log(found, self._public_key(origin, found))
        if before is None:
            return found
        self.waits = True
        click.echo(
            f"{PART}: head: was signed before the log got another id, {found.log_id}, as after a restore; "
            f"{BUILT_BY} anew when it starts. Compared with the former tree, of {before.log_id}:"
        )
        return before

    async def _compare_kept(self, found: TreeSnapshot, compare: Compare) -> None:
        for note in self._notes:
            key = self._public_key(note.partition("\n")[0], found)
            try:
                if wrong := await compare(note, key):
                    self.add(wrong)
            except NotCovered as early:
                self.waits = True
                click.echo(f"{PART}: {KEPT_HEAD}: {early}, of {found.position} in the log")

    def _begin(self, found: TreeSnapshot) -> CheckProgress:
        """The progress of the interrupted check, or of a new one."""
        origin, note = origin_of(found.log_id), found.head.note if found.head else ""
        if self._kept is None:
            return CheckProgress(origin, note)
        if self._kept.origin != origin:
            raise click.ClickException(
                f"the state is of another log, {self._kept.origin}: name another file"
            )
        click.echo(f"Goes on after position {len(self._kept.checked) * WIDTH}.")
        self._notes.append(self._kept.head)
        for fault in self._kept.faults:
            self.add(fault)
        return self._kept

    def _save(self, work: CheckProgress) -> None:
        if self._file is not None:
            work.faults = self.faults
            self._file.write(work)
            self._saved_at = time.monotonic()

    def _conclude(self, found: TreeSnapshot, key: str) -> None:
        size = 0 if found.head is None else found.head.size
        later = found.position - size
        click.echo(
            f"Checked {size} events{f'; {later} are not in the tree yet' if later > 0 else ''}."
        )
        click.echo(f"Public key: {key}")
        if self._file is not None:
            self._file.remove()

    def add(self, fault: Fault | str) -> None:
        """Add a fault, and print it, unless it was added before."""
        if (text := str(fault)) in self.faults:
            return
        self.faults.append(text)
        if len(self.faults) <= MOST_NAMED:
            click.echo(text)

    def _public_key(self, origin: str, found: TreeSnapshot) -> str:
        """The public key of an origin: before a restore the log had another id, and so another key."""
        if self._secret is not None:
            return Signer(self._secret, origin).public_key
        return "" if found.head is None else found.head.public_key


def _describe_retired(retired: Sequence[Retired]) -> str:
    """The number of retired entries, as the end of a sentence."""
    if not retired:
        return ""
    entries = sum(each.last - each.first + 1 for each in retired)
    last = max(each.day for each in retired)
    return f"; {entries} of them were retired, of days up to {last}"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from None
