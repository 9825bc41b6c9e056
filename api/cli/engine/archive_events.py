"""`executions archive --events`: moves old events into the archive, or prints what would happen to the next ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

from api.cli.engine.archive import BUSY, ArchiverParts, run_archiver
from api.cli.tables import print_table
from api.clock import Clock
from workers.event_archive.archiver import EVENTS, EventArchiver, RangeReport

NEVER = "Events stay in the database: EXECUTIONS_EVENT_DAYS is not set for this command."
NONE_IS_OLD = f"No range of {EVENTS} events is old enough to be archived: EXECUTIONS_EVENT_DAYS is {{}} for this command."


def archive_events(data_dir: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Archive old ranges, or print what would happen to the next one; exit with 1 where one failed."""
    reports: list[RangeReport] = []

    async def archive(parts: ArchiverParts) -> None:
        of_log = parts.writer, parts.store, parts.conninfo, parts.retention
        archiver = EventArchiver(*of_log, clock=Clock())
        reports.extend(await archiver.archive(dry_run=dry_run, patience=BUSY))

    retention = run_archiver(data_dir, archive, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps([asdict(report) for report in reports]))
    elif reports:
        print_table(_table(reports))
    elif retention.event_days is None:
        click.echo(NEVER)
    else:
        click.echo(NONE_IS_OLD.format(retention.event_days))
    if any(report.outcome == "failed" for report in reports):
        raise click.ClickException("a range could not be archived; its events are where they were")


def _table(reports: list[RangeReport]) -> Table:
    table = Table("positions", "leave the table", "outcome", "why, or where")
    for report in reports:
        positions = f"{report.first} to {report.last}"
        row = positions, f"{report.taken}", report.outcome, report.reason or report.file
        table.add_row(*row)
    return table
