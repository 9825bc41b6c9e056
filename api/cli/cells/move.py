"""`executions cells move`: moves a log to another database while it is served."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click

from api.cells.registry import LogRegistry
from api.cli.cells.named_log import open_named_log, read_hosted_logs, reporting_errors
from api.database import Database
from api.settings import Settings, SetupError, environment_of_children
from domain import registry
from domain.eventlog.moving.databases import Busy, MoveDatabases, MoveProgress, MoveTimeouts
from domain.eventlog.moving.digests import Different
from domain.eventlog.moving.fence import Expired, StillWriting
from domain.eventlog.moving.journal import conninfo_at, location_of
from domain.eventlog.moving.move import Hooks, Move, MoveRefused, WantedMove
from domain.eventlog.moving.replication import Broken, ReplicationLate
from domain.eventlog.sessions import user_of
from domain.eventlog.setup.databases import names_database
from projections.registry import all_projections

AGAIN = "the old database takes commands; run the command again, or take the move back with --abort"
STOPPED = {
    ReplicationLate: "what was recorded has not arrived in time",
    StillWriting: "a transaction in the old database does not end",
    Expired: "it took longer than commands may wait (--pause)",
}
WORDS = {
    "taken back": "what the move has made is taken away",
    "prepared": "the tables are made",
    "published": "the old database publishes its changes",
    "copied": "all rows are copied, and the new database follows",
    "compared": "what was recorded before is the same in both databases",
    "sealed": "the old database takes no commands any more, and both have the same",
    "opened": "the new database takes commands",
    "moved": "the old database says where the log is",
    "finished": "nothing is left to do",
}
COMMAND_WITHIN = 60
"""Seconds for the command of --then to end."""
OVER = "\r\033[K"
"""Clears the line of a terminal."""


class Options(NamedTuple):
    """The options of the command, as its help describes them."""

    to: str
    source: str | None = None
    then: str | None = None
    stay: bool = False
    pause: float = 5.0
    abort: bool = False
    new_is_lost: bool = False
    dry_run: bool = False
    as_json: bool = False


def move_log(name: str, data_dir: Path | None, options: Options) -> None:
    """Move a log, continue an interrupted move, take one back, or print what prevents it."""
    with reporting_errors(), open_named_log(name, data_dir) as (settings, known, _, hosted):
        if hosted is None:
            _require_placed(settings)
        if not names_database(options.to):
            raise SetupError("--to must name a database: one that is there, and has no log yet")
        role = None if known.serving == known.owner else user_of(known.serving)
        wanted = WantedMove(
            known.owner,
            options.to,
            settings.schema,
            options.source or known.owner,
            role,
            not options.stay,
        )
        with _moving(wanted, known, options) as move:
            done = _execute(name, move, options)
        if done is None:
            return
        then = "Name it in EXECUTIONS_DATABASE_URL, and run `executions verify` there."
        if hosted is not None and wanted.follow and settings.logs is not None:
            url = conninfo_at(known.serving, location_of(wanted.new))
            owner = None if role is None else wanted.new
            LogRegistry(settings.logs).put(name, replace(hosted, url=url, owner_url=owner))
            then = (
                f"{settings.logs} names it now. Run `executions verify` there, with EXECUTIONS_DATABASE_URL and "
                f"EXECUTIONS_SCHEMA={settings.schema}."
            )
        _print_moved(name, wanted, done, options, then)


def _require_placed(settings: Settings) -> None:
    """Raises SetupError where hosted logs have no URL, so that they would be searched in the new database."""
    unplaced = [
        name for name, location in read_hosted_logs(settings).items() if location.url is None
    ]
    if unplaced:
        raise SetupError(
            f"{', '.join(unplaced)} would be looked for in the new database, too: give them a url in {settings.logs} first"
        )


def _execute(name: str, move: Move, options: Options) -> MoveDatabases | None:
    """Execute the command. Return the databases if the log is in the new one now."""
    if options.abort:
        move.abort(new_is_lost=options.new_is_lost)
        _print(options, f"The log {name} stays where it is.", {"name": name, "aborted": True})
    elif options.dry_run:
        _show_objections(name, move, options)
    else:
        return move.run()
    return None


@contextmanager
def _moving(wanted: WantedMove, known: Database, options: Options) -> Iterator[Move]:
    new, shown = Database(wanted.new, wanted.new), _ProgressPrinter(options)
    views = {
        table: view.name for view in all_projections(registry.codec()) for table in view.tables
    }
    hooks = Hooks(
        lambda: known.prepare(wanted.schema, begin_again=False),
        lambda: new.prepare_for(wanted.schema, wanted.role),
        views,
        MoveProgress(shown.show_progress, shown.show_step),
        lambda: _run_command(options.then),
    )
    try:
        move = Move(wanted, hooks, MoveTimeouts(options.pause))
        try:
            yield move
        finally:
            move.close()
    except Busy:
        raise SetupError("another command moves this log just now") from None
    except MoveRefused as error:
        raise SetupError("\n".join(error.reasons)) from None
    except (Broken, Different) as error:
        raise SetupError(f"{error}; {AGAIN}") from None
    except (ReplicationLate, StillWriting, Expired) as error:
        raise SetupError(f"{STOPPED[type(error)]}; {AGAIN}") from None


class _ProgressPrinter:
    """Prints the progress, on a terminal in one line that is overwritten, and each completed step."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._is_terminal = sys.stderr.isatty() and not options.as_json
        self._last: tuple[str, int, int] | None = None

    def show_progress(self, what: str, done: int, total: int) -> None:
        if (what, done, total) == self._last:
            return
        self._last = (what, done, total)
        if self._options.as_json:
            click.echo(json.dumps({"doing": what, "done": done, "of": total}))
        elif self._is_terminal:
            click.echo(f"{OVER}{what}: {done} of {total}", nl=False, err=True)

    def show_step(self, step: str) -> None:
        if self._is_terminal:
            click.echo(OVER, nl=False, err=True)
        _print(self._options, WORDS[step], {"step": step})


def _run_command(command: str | None) -> None:
    if command is None:
        return
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            env=environment_of_children(),
            timeout=COMMAND_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"the command of --then has not ended within {COMMAND_WITHIN} s") from None
    if done.returncode:
        raise SetupError(
            f"the log is in the new database, but the command of --then ended with {done.returncode}: "
            "commands are refused until you run this again"
        )


def _show_objections(name: str, move: Move, options: Options) -> None:
    reasons = move.objections()
    step = None if move.begun is None else move.begun.step
    if options.as_json:
        click.echo(json.dumps({"name": name, "objections": reasons, "step": step}))
    elif reasons:
        click.echo("\n".join(reasons))
    elif step is None:
        click.echo(f"Nothing is in the way of the move of {name}; nothing was changed.")
    else:
        click.echo(f"The move of {name} goes on behind this: {WORDS.get(step, step)}.")
    if reasons:
        raise click.exceptions.Exit(1)


def _print_moved(
    name: str, wanted: WantedMove, done: MoveDatabases, options: Options, then: str
) -> None:
    location, pause = location_of(wanted.new), done.pause
    compared = done.compared
    shown = {
        "name": name,
        "place": location,
        **({} if pause is None else {"pauseSeconds": round(pause, 3)}),
        **({} if compared is None else compared._asdict()),
    }
    lines = [f"The log {name} is at {location}."]
    if pause is not None and compared is not None:
        lines.append(
            f"Commands waited for {pause:.2f} s; both databases had the same {compared.position} events."
        )
        if compared.skipped:
            lines.append(f"Too large to be compared meanwhile: {', '.join(compared.skipped)}.")
    lines.append(then)
    _print(options, "\n".join(lines), shown)


def _print(options: Options, text: str, shown: dict[str, object]) -> None:
    click.echo(json.dumps(shown) if options.as_json else text)
