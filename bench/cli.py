"""The command line of the benchmarks: which sections to measure, for how long, and how to print the results."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from api.cli.command_group import CommandGroup
from bench import (
    access,
    dashboard,
    engine,
    importing,
    lag,
    life,
    loading,
    million,
    read,
    rebuild,
    resting,
    scattered,
    scoped,
    sdk,
    streams,
    trust,
    trusted,
    two_logs,
    visible,
    write,
)
from bench.measurements import Report
from bench.plan import QUICK, Plan
from bench.stand import Stand, stand

Section = Callable[[Stand, Plan, Report], None]
F = TypeVar("F", bound=Callable[..., None])

QUICK_HELP = "2 seconds once instead of 5 seconds three times, and a tenth of the data."
FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)


def common(command: F) -> F:
    """Add the options that every section has."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables."),
        click.option("--repetitions", type=click.IntRange(1), help="How often each load runs."),
        click.option("--seconds", type=click.FloatRange(1), help="How long each load runs."),
        click.option("--quick", is_flag=True, help=QUICK_HELP),
    ):
        command = option(command)
    return command


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure each hot path beside its limit, in the same run.

    PostgreSQL (default durability) and the service run as processes of their own on temporary
    data; nothing of yours is touched. Limit and product take turns, and their ratio is taken turn
    by turn, so that what else the machine does hits both. A measurement is the median of the
    repetitions; beside it stand the smallest and the largest, and in the note the CPU time that
    each request took in the service, in PostgreSQL and in the load generator (client).
    """
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@main.command(
    "write", help="Rows in PostgreSQL, the bus alone, commands over HTTP; about 4 minutes."
)
@common
def write_(**given: Any) -> None:
    run([write.measure], **given)


@main.command("life", help="Whole lives of 12 requests at 1, 16 and 64 connections.")
@click.option("--beside", type=FOLDER, help="Another checkout with its .venv, measured in turns.")
@common
def life_(beside: Path | None, **given: Any) -> None:
    run([life.section(beside)], **given)


@main.command("lag", help="How far views are behind while 10 000 events/s are written.")
@click.option("--beside", type=FOLDER, help="Another checkout with its .venv, measured afterwards.")
@common
def lag_(beside: Path | None, **given: Any) -> None:
    run([lag.section(beside)], **given)


@main.command("engine", help="What happens by itself: timers, and what waiting for them costs.")
@common
def engine_(**given: Any) -> None:
    run([engine.measure], **given)


@main.command(
    "trust",
    help="Proofs among 10 million, the check of the log, and what trust costs reads and commands.",
)
@common
def trust_(**given: Any) -> None:
    run([trust.measure, trusted.measure, access.measure], **given)


@main.command(
    "access", help="What rights, scope, sealing and the access log cost; then the access log alone."
)
@common
def access_(**given: Any) -> None:
    run([trusted.measure, access.measure], **given)


@main.command(
    "scoped", help="Lists of a customer with one of a hundred executions, among a million."
)
@click.option("--executions", type=click.IntRange(1_000), default=1_000_000, show_default=True)
@common
def scoped_(executions: int, **given: Any) -> None:
    run([scoped.section(executions)], **given)


@main.command("resting", help="A thousand idle logs in one process; about an hour.")
@common
def resting_(**given: Any) -> None:
    run([resting.measure], **given)


@main.command("scattered", help="The list of two logs beside that of one.")
@common
def scattered_(**given: Any) -> None:
    run([scattered.measure], **given)


@main.command("logs", help="Commands to two logs, a service each, beside those to one.")
@common
def logs_(**given: Any) -> None:
    run([two_logs.measure], **given)


@main.command("sdk", help="The Python SDK beside bare httpx2, buffered steps, watchers.")
@common
def sdk_(**given: Any) -> None:
    run([sdk.measure], **given)


@main.command("dashboard", help="Pages of an execution of 10 000 steps and 50 000 events.")
@common
def dashboard_(**given: Any) -> None:
    run([dashboard.measure], **given)


@main.command("load", help="A stream of 10 000 events from cold.")
@common
def load_(**given: Any) -> None:
    run([loading.measure], **given)


@main.command("visible", help="From a command to its effect in the list, at 500 commands/s.")
@common
def visible_(**given: Any) -> None:
    run([visible.measure], **given)


@main.command("streams", help="Deliveries, the past, and what streams cost; about 6 minutes.")
@common
def streams_(**given: Any) -> None:
    run([streams.measure], **given)


@main.command("read", help="List, find and analytics on 100 000 executions.")
@common
def read_(**given: Any) -> None:
    run([read.measure], **given)


@main.command(
    "rebuild", help="Rebuild of the view `executions` from the log of 100 000 executions."
)
@common
def rebuild_(**given: Any) -> None:
    run([rebuild.measure], **given)


@main.command(
    "million", help="A million executions: filling, lists, start, rebuild, verify, sizes."
)
@click.option(
    "--executions", type=click.IntRange(million.SMALLEST), default=1_000_000, show_default=True
)
@common
def million_(executions: int, **given: Any) -> None:
    run([million.section(executions)], **given)


@main.command("import", help="Import of a process log (XES) by its mapping.")
@click.option("--log", type=FILE, required=True, help="The log, plain or gzip.")
@click.option("--mapping", type=FILE, required=True, help="What the log is about (JSON).")
@common
def import_(log: Path, mapping: Path, **given: Any) -> None:
    run([importing.section(log, mapping)], **given)


@main.command("all")
@click.option("--log", type=FILE, help="A process log to import as well.")
@click.option("--mapping", type=FILE, help="Its mapping.")
@common
def all_(log: Path | None, mapping: Path | None, **given: Any) -> None:
    """Everything; the import only with --log and --mapping."""
    sections: list[Section] = [
        write.measure,
        life.section(None),
        lag.section(None),
        engine.measure,
        trust.measure,
        trusted.measure,
        loading.measure,
        visible.measure,
        streams.measure,
        read.measure,
        rebuild.measure,
    ]
    if log is not None and mapping is not None:
        sections.append(importing.section(log, mapping))
    run(sections, **given)


def run(
    sections: Sequence[Section],
    *,
    quick: bool,
    as_json: bool,
    seconds: float | None,
    repetitions: int | None,
) -> None:
    """Measure sections on one stand, and print the measurements, also after an interruption."""
    plan, report = QUICK if quick else Plan(), Report()
    plan = replace(
        plan,
        seconds=seconds or plan.seconds,
        repetitions=repetitions or plan.repetitions,
    )
    try:
        with stand() as ground:
            for section in sections:
                section(ground, plan, report)
    except KeyboardInterrupt:
        raise click.ClickException("interrupted") from None
    except (RuntimeError, OSError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        (report.print_json if as_json else report.print_tables)()
