"""`executions doctor`: prints what is slow, large, late or damaged, and what to do."""

from __future__ import annotations

import asyncio
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from api.cli.open_log import run_on_log
from api.cli.tables import plain_console, print_table
from api.embedded_postgres.data_dir import DataDir
from api.settings import read
from domain.eventlog.archive.files import ArchiveFiles
from domain.eventlog.store import Store
from projections.audit.rounds.walk import audit_totals
from projections.deliveries.totals import delivery_totals
from projections.diagnosis.findings import Finding, findings
from projections.diagnosis.measurements import Measurements, WebhookCalls, measure
from projections.log_lines.archive.verify import missing_files

LARGEST_SHOWN = 8
MOST_WEBHOOKS = 50
NOTHING = "Nothing is slow, large, late or damaged. `executions verify` compares every row."
COLORS = {"damaged": "red", "late": "yellow", "large": "cyan", "slow": "magenta"}


def diagnose(data_dir: Path | None, *, as_json: bool) -> None:
    """Print measurements and findings; exit with 1 where something was found."""
    found: list[Finding] = []

    async def work(_: str, __: str, store: Store) -> None:
        measured = await _measure(store, data_dir)
        found.extend(findings(measured))
        if as_json:
            click.echo(json.dumps(_json(measured, found)))
        else:
            _print(measured, found)

    run_on_log(data_dir, work)
    if found and not as_json:
        raise click.ClickException("1 finding" if len(found) == 1 else f"{len(found)} findings")
    if found:
        raise click.exceptions.Exit(1)


async def _measure(store: Store, data_dir: Path | None) -> Measurements:
    measured = await measure(store)
    async with store.reader() as connection:
        calls = await delivery_totals(connection, datetime.now(UTC), MOST_WEBHOOKS)
        audit = await audit_totals(connection)
    archive = ArchiveFiles(read(data_dir=data_dir).archive)
    return measured._replace(
        disk_free=await asyncio.to_thread(_free, data_dir),
        webhooks=WebhookCalls(calls.waiting, calls.failing, calls.oldest),
        audit_faults=audit.faults,
        archive_missing=await missing_files(store, archive),
    )


def _free(data_dir: Path | None) -> int | None:
    """The free bytes on the disk of the embedded database; None where the database is external."""
    settings = read(data_dir=data_dir)
    if settings.database_url is not None:
        return None
    return shutil.disk_usage(DataDir(settings.data_dir).path).free


def _json(measured: Measurements, found: list[Finding]) -> dict[str, object]:
    return {
        "position": measured.head,
        "bytes": measured.bytes,
        "tables": [{**table._asdict(), "bytes": table.bytes} for table in measured.tables],
        "projections": [
            {**view._asdict(), "lag": measured.head - view.position} for view in measured.views
        ],
        "postgres": {**measured.server._asdict(), **measured.settings},
        "diskFree": measured.disk_free,
        "webhooks": measured.webhooks._asdict(),
        "auditFaults": measured.audit_faults,
        "archiveMissing": measured.archive_missing,
        "findings": [finding._asdict() for finding in found],
    }


def _print(measured: Measurements, found: list[Finding]) -> None:
    console = plain_console()
    console.print(_summary(measured), soft_wrap=True)
    print_table(_tables(measured))
    for finding in found:
        severity = finding.severity, COLORS[finding.severity]
        said = f" {finding.what}.\n  → {finding.advice}."
        console.print(Text.assemble(severity, said), soft_wrap=True)
    if not found:
        console.print(NOTHING, soft_wrap=True)


def _summary(measured: Measurements) -> str:
    head = measured.head
    events = measured.table("events").bytes
    lines = [
        f"The log is at {head}; it takes {_size(measured.bytes)}"
        + (
            f": {events // head} bytes an event in the table of events with its indexes, "
            f"{measured.bytes // head} with all other tables (views, keys and others)."
            if head
            else ", empty."
        ),
        "Projections: "
        + ", ".join(f"{v.name} {measured.head - v.position} behind" for v in measured.views)
        + ".",
        f"PostgreSQL {measured.settings['server_version']}: {measured.server.connections} connections"
        + (
            "."
            if measured.disk_free is None
            else f"; {_size(measured.disk_free)} free on its disk."
        ),
    ]
    return "\n".join(lines)


def _tables(measured: Measurements) -> Table:
    table = Table(
        "table",
        "rows (about)",
        "dead (about)",
        "bytes of rows",
        "of indexes",
        title="The largest tables",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for measured_table in measured.tables[:LARGEST_SHOWN]:
        sizes = (_size(measured_table.rows_bytes), _size(measured_table.index_bytes))
        table.add_row(
            measured_table.name, f"{measured_table.rows}", f"{measured_table.dead}", *sizes
        )
    return table


def _size(count: int) -> str:
    value, units = float(count), iter(("B", "KiB", "MiB", "GiB"))
    unit = next(units)
    while value >= 1024 and (larger := next(units, None)):
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
