"""The commands of `executions audit`."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.options import DATA_DIR, at_service

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("audit")
def audit_group() -> None:
    """Prove that the log is what it was, or check it."""


@audit_group.command()
@click.argument("execution")
@click.option("--output", "-o", type=FILE, required=True, help="The zip to write.")
@at_service
def bundle(
    execution: str, output: Path, url: str | None, token: str | None, data_dir: Path | None
) -> None:
    """Write the history of EXECUTION as a zip that proves itself.

    It has all its events, the proof that each is in the log, the signed head of the log, a report to read or
    print, and `verify.py`, which needs nothing but Python. The content in it is open: keep it as you would
    keep the execution.
    """
    from api.cli.audit.bundle import write_bundle

    write_bundle(execution, output, url, token, data_dir)


@audit_group.command()
@DATA_DIR
@click.option(
    "--head",
    "kept",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="A signed head that you have kept (GET /audit/tree-head as text/plain).",
)
def verify(data_dir: Path | None, kept: tuple[Path, ...]) -> None:
    """Hold the whole log against its tree: every event, every tile, the root and the signed head.

    Exits with 1 and names the first position of each tile that does not fit. The server may go on meanwhile.
    Whoever owns the database and the master key could make all of it again: only a head that was kept
    elsewhere shows that, so name one with --head.
    """
    from api.cli.audit.verify import verify_tree

    verify_tree(data_dir, kept)
