"""Runs an import: connects, checks the file, sends, and prints the totals."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from api.cli.options import At
from api.cli.progress_bar import progress
from api.cli.terminal import plain
from api.interop.xes.client import OPTIONS, ServiceAway, ServiceClient, ServiceFailed
from api.interop.xes.mapping import MappingError, load_mapping
from api.interop.xes.reader import XesError
from api.interop.xes.sender import Result, import_plans, prepare
from api.interop.xes.survey import Survey, plans, survey
from api.settings import SetupError

SHOWN = 20
"""Refused executions that are printed."""
ALWAYS_SHOWN = ("total", "commands")


def run(
    file: Path, mapping_file: Path, connect: Callable[[], ServiceClient], *, as_json: bool
) -> None:
    """Import a file, and print the totals; errors become messages of one line."""
    started = time.monotonic()
    try:
        with _interrupted_by_sigterm():
            found, result = run_import(file, mapping_file, connect())
    except XesError as error:
        raise click.ClickException(plain(f"{file}: {error}")) from None
    except (MappingError, SetupError) as error:
        raise click.ClickException(str(error)) from None
    except ServiceFailed as error:
        raise click.ClickException(_advice(error)) from None
    except KeyboardInterrupt:
        raise click.ClickException("interrupted. Run it again to continue.") from None
    totals = summary(found, result, time.monotonic() - started)
    click.echo(json.dumps(totals) if as_json else plain(in_words(totals)))
    if result.refused:
        sys.exit(1)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block at SIGTERM, as at Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _advice(error: ServiceFailed) -> str:
    """The reason, and the advice to try again where that helps."""
    reason = str(error)
    ended = reason if reason.endswith((".", "?")) else f"{reason}."
    return f"{ended} Run it again to continue." if isinstance(error, ServiceAway) else ended


def connect(at: At) -> ServiceClient:
    """Make the client of the service that the options name."""
    return ServiceClient(at.client(**OPTIONS))


def run_import(file: Path, mapping_file: Path, service: ServiceClient) -> tuple[Survey, Result]:
    if not file.is_file():
        raise click.ClickException(
            f"{file} cannot be read twice, as a pipe: save it to a file first"
        )
    mapping = load_mapping(mapping_file)
    service.reach()
    size = file.stat().st_size
    with progress("Checking") as reached:
        found = survey(file, mapping, datetime.now(UTC), lambda read: reached(read, size))
    prepare(service, mapping, found.log)
    done = Result()

    def count(added: Result) -> None:
        done.add(added)
        imported(done.fared.total(), found.executions.total())

    with progress("Importing") as imported:
        result = import_plans(plans(file, mapping, found.log), service, count)
    return found, result


def summary(found: Survey, result: Result, seconds: float) -> dict[str, Any]:
    return {
        "log": found.log,
        "executions": {"total": found.executions.total(), **found.executions},
        "steps": {"total": found.steps.total(), **found.steps},
        "events": found.events,
        "import": {
            word: result.fared[word] for word in ("imported", "resumed", "unchanged", "refused")
        },
        "commands": result.commands,
        "emptyTraces": found.empty_traces,
        "ignoredEvents": dict(found.ignored_events),
        "movedTimes": found.moved_times,
        "notANumber": found.nan_values,
        "unusedOutcomes": found.unused_outcomes,
        "refused": [{"execution": r.execution, "reason": r.reason} for r in result.refused],
        "seconds": round(seconds, 1),
    }


def in_words(totals: dict[str, Any]) -> str:
    lines = [
        f"{totals['log']}: {totals['events']} events in {totals['seconds']} s",
        f"executions in the log  {_counts(totals['executions'])}",
        f"steps in the log       {_counts(totals['steps'])}",
        f"this time              {_counts({**totals['import'], 'commands': totals['commands']})}",
    ]
    if totals["emptyTraces"]:
        lines.append(f"left out               {totals['emptyTraces']} traces without events")
    if totals["ignoredEvents"]:
        lines.append(
            f"left out               events with the lifecycle {_counts(totals['ignoredEvents'])}"
        )
    if totals["notANumber"]:
        lines.append(f"left out               {totals['notANumber']} attributes that are NaN")
    if totals["movedTimes"]:
        lines.append(
            f"moved                  {totals['movedTimes']} ends of steps that lay before their starts"
        )
    if totals["unusedOutcomes"]:
        lines.append(
            f"never seen             {', '.join(totals['unusedOutcomes'])} (an outcome of the mapping)"
        )
    refused = totals["refused"]
    lines += [f"refused                {r['execution']}: {r['reason']}" for r in refused[:SHOWN]]
    if len(refused) > SHOWN:
        lines.append(
            f"refused                and {len(refused) - SHOWN} more (--json has them all)"
        )
    return "\n".join(lines)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(
        f"{number} {word}" for word, number in counts.items() if number or word in ALWAYS_SHOWN
    )
