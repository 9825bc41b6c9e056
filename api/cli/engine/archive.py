"""`executions archive`: moves the log lines of past days into the archive, or prints which would be moved."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import click

from api.cli.open_log import run_on_log, run_opened
from api.clock import Clock, chance, new_id
from api.embedded_postgres.data_dir import DataDir
from api.log_keys import keys_of_log, require_key_of_log
from api.settings import Settings
from domain import registry
from domain.eventlog.archive.files import ArchiveFailed, require_installed
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.store import Store
from domain.writer.guarded_writer import GuardedWriter
from workers.archiver import Archiver, DayReport, LineRetention

BUSY = 10.0
"""Seconds to wait for another process that is archiving."""


def archive_logs(data_dir: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Archive expired days, or print what would happen to them; exit with 1 where one failed."""
    reports: list[DayReport] = []

    async def archive(parts: ArchiverParts) -> None:
        of_log = parts.writer, parts.store, parts.conninfo, parts.store.schema, parts.retention
        archiver = Archiver(*of_log, clock=Clock())
        reports.extend(await archiver.archive(dry_run=dry_run, patience=BUSY))

    retention = run_archiver(data_dir, archive, dry_run=dry_run)
    _print_reports(reports, retention.days, as_json=as_json)
    if any(report.outcome == "failed" for report in reports):
        raise click.ClickException(
            "some days could not be archived; their lines are where they were"
        )


class ArchiverParts(NamedTuple):
    """The parts that an archiver is made of."""

    writer: GuardedWriter
    store: Store
    conninfo: str
    retention: LineRetention


def run_archiver(
    data_dir: Path | None,
    archive: Callable[[ArchiverParts], Coroutine[Any, Any, None]],
    *,
    dry_run: bool,
) -> LineRetention:
    """Run `archive` on the log of the settings, and return the retention.

    Raises:
        ClickException: another process is archiving, or the archive is unavailable.
    """
    kept: list[tuple[LineRetention, Vault]] = []

    def check(conninfo: str, settings: Settings, folder: DataDir) -> None:
        require_key_of_log(conninfo, settings, folder)
        keys = keys_of_log(conninfo, settings, DataDir(folder.path))
        days = settings.log_days, settings.archiving, settings.access_log_days, settings.event_days
        kept.append((LineRetention(settings.archive, *days), Vault(keys.master)))

    async def work(conninfo: str, schema: str, _: Store) -> None:
        [(retention, vault)] = kept
        store = Store(conninfo, schema, registry.codec(), Keyring(vault))
        writer = GuardedWriter(store, Clock(), new_id, chance)
        await run_opened(store, archive(ArchiverParts(writer, store, conninfo, retention)))

    try:
        if not dry_run:
            require_installed()
        run_on_log(data_dir, work, check)
    except TimeoutError:
        raise click.ClickException("another process is archiving just now") from None
    except ArchiveFailed as error:
        raise click.ClickException(str(error)) from None
    return kept[0][0]


def _print_reports(reports: list[DayReport], days: int, *, as_json: bool) -> None:
    shown = [report for report in reports if report.lines or report.outcome == "failed"]
    if as_json:
        click.echo(json.dumps([_document(report) for report in shown]))
    elif shown:
        _print(shown)
    else:
        click.echo(
            f"No log lines are old enough to be archived: EXECUTIONS_LOG_DAYS is {days} for this command."
        )


def _document(report: DayReport) -> dict[str, Any]:
    return {
        "day": str(report.day),
        "outcome": report.outcome,
        "lines": report.lines,
        "files": report.files,
        "bytes": report.bytes,
        "holds": report.holds,
        **({"reason": report.reason} if report.reason else {}),
    }


def _print(reports: list[DayReport]) -> None:
    from rich.table import Table

    from api.cli.tables import print_table

    table = Table("day", "lines", "outcome", "why, or where")
    for report in reports:
        why = report.reason or "\n".join(report.files)
        table.add_row(str(report.day), f"{report.lines}", report.outcome, why)
    print_table(table)
