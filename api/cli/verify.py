"""`executions verify`: checks that all stored data are consistent, and names each fault."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from api.cli.open_log import run_on_log
from api.cli.progress_bar import progress
from api.cli.projections import workers
from api.embedded_postgres.data_dir import DataDir
from api.embedded_postgres.master_key import has_master_key, master_key
from api.log_keys import require_key_of_log
from api.settings import Settings
from domain import registry
from domain.errors import DamagedFile
from domain.eventlog.archive.files import ArchiveFiles
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.store import Store
from domain.integrity.event_files import check_event_files
from domain.integrity.fault import Fault
from domain.integrity.histories import Histories
from domain.integrity.keys import key_faults
from domain.integrity.log_lines import line_faults
from domain.integrity.snapshots import snapshot_faults
from projections.engine.parallel_rebuild import PartFailed
from projections.engine.rebuild import RebuildUnderWay
from projections.engine.verification.verify import LogVerification, MadeAnew, Work, verify
from projections.log_lines.archive.verify import check_archive
from projections.registry import all_projections

MOST_NAMED = 1_000
"""Faults that the JSON names; it counts all."""


@dataclass(slots=True)
class Report:
    """The counts of checked data, and the faults."""

    as_json: bool
    verification: LogVerification = field(default_factory=LogVerification)
    keys: int = 0
    snapshots: int = 0
    log_lines: int = 0
    archive_files: int = 0
    unreachable: int = 0
    faults: list[Fault] = field(default_factory=list)
    count: int = 0

    def add(self, fault: Fault) -> None:
        """Add a fault: print it at once, or collect it for the JSON."""
        self.count += 1
        if not self.as_json:
            click.echo(str(fault))
        elif len(self.faults) < MOST_NAMED:
            self.faults.append(fault)

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "events": self.verification.events,
            "keys": self.keys,
            "snapshots": self.snapshots,
            "logLines": self.log_lines,
            "archiveFiles": self.archive_files,
            "archiveFilesUnreachable": self.unreachable,
            "views": [
                {**asdict(view), "lag": view.head - view.position}
                for view in self.verification.views
            ],
            "faults": [fault.members() for fault in self.faults],
            "faultCount": self.count,
        }

    def say(self) -> None:
        """Print the report as text."""
        click.echo(
            f"Checked {self.verification.events} events, {self.keys} data keys, {self.snapshots} snapshots, "
            f"{self.log_lines} log lines."
        )
        if self.archive_files:
            rest = f"; {self.unreachable} could not be reached" if self.unreachable else ""
            click.echo(f"Compared {self.archive_files - self.unreachable} archive files{rest}.")
        for view in self.verification.views:
            place = f"up to position {view.position} of {view.head}"
            lag = f" ({view.head - view.position} behind)" if view.head > view.position else ""
            click.echo(f"Compared {view.rows} rows of {view.view}, {place}{lag}.")


def verify_all(data_dir: Path | None, processes: int | None, *, as_json: bool) -> None:
    """Check the log, the keys, the snapshots, every view and the archive; exit with 1 where something is wrong.

    The right master key has to be there, as verifying shows that everything can be read. A log without any sealed field
    may have none.
    """
    report = Report(as_json)
    keys: list[bytes] = []
    archives: list[ArchiveFiles] = []

    def check(conninfo: str, settings: Settings, folder: DataDir) -> None:
        require_key_of_log(conninfo, settings, folder)
        archives.append(ArchiveFiles(settings.archive))
        if has_master_key(settings, folder):
            keys.append(master_key(settings, DataDir(folder.path)))

    async def work(conninfo: str, _: str, store: Store) -> None:
        key = keys[0] if keys else None
        if key is not None:
            store = Store(conninfo, store.schema, registry.codec(), Keyring(Vault(key)))
            await store.open()
        try:
            verified = Work(all_projections(store.codec), workers(processes), key)
            await _check_archive(store, archives[0], report)
            await _check_unless_damaged(conninfo, store, verified, report)
        finally:
            if key is not None:
                await store.close()

    try:
        run_on_log(data_dir, work, check)
    except (MadeAnew, RebuildUnderWay, PartFailed) as error:
        raise click.ClickException(str(error)) from None
    _conclude(report)


def _conclude(report: Report) -> None:
    if report.as_json:
        click.echo(json.dumps(report.document()))
    else:
        report.say()
    if report.count:
        found = "1 fault was" if report.count == 1 else f"{report.count} faults were"
        raise click.ClickException(f"{found} found")
    if not report.as_json:
        click.echo("All of it is what the events say.")


async def _check(conninfo: str, store: Store, work: Work, report: Report) -> None:
    with progress("Verifying the log and the views") as reached:
        async for found in verify(conninfo, store, work, report.verification, reached):
            report.add(found)
    if work.key is not None:
        async for fault in key_faults(store, Vault(work.key)):
            report.keys += 1
            if fault is not None:
                report.add(fault)
        async for fault in line_faults(store):
            report.log_lines += 1
            if fault is not None:
                report.add(fault)
    histories = Histories(conninfo, store.schema)
    try:
        async for fault in snapshot_faults(store, histories):
            report.snapshots += 1
            if fault is not None:
                report.add(fault)
    finally:
        histories.close()


async def _check_archive(store: Store, files: ArchiveFiles, report: Report) -> None:
    for each in (check_archive(store, files), check_event_files(store, files)):
        async for checked in each:
            report.archive_files += 1
            report.unreachable += not checked.reached
            for fault in checked.faults:
                report.add(fault)


async def _check_unless_damaged(conninfo: str, store: Store, work: Work, report: Report) -> None:
    """Check everything that is compared with events, unless a file of archived events is missing or damaged."""
    try:
        await _check(conninfo, store, work, report)
    except DamagedFile as error:
        what = f"its events cannot be read, so nothing is compared with them: {error.reason}"
        report.add(Fault("archive", error.file, what))
