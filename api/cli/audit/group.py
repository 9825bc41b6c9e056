"""The commands of `executions audit`."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.command_group import CommandGroup
from api.cli.options import DATA_DIR, At, reading_at_service

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group("audit", cls=CommandGroup)
def audit_group() -> None:
    """Prove or check that the log is unchanged."""


@audit_group.command()
@click.argument("execution")
@click.option("--output", "-o", type=FILE, required=True, help="The zip file to write.")
@reading_at_service
def bundle(at: At, execution: str, output: Path) -> None:
    """Write the history of EXECUTION as a zip file with its proofs.

    It has all events, the proof that each is in the log, the signed head of the log, a report to read or print, and
    `verify.py`, which needs only Python. Content in it is decrypted: protect it as you protect the execution.
    """
    from api.cli.audit.bundle import write_bundle

    write_bundle(at, execution, output)


@audit_group.command()
@DATA_DIR
@click.option(
    "--head",
    "kept",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="Signed heads that you or a witness have kept (GET /audit/tree-head as text/plain).",
)
@click.option(
    "--state",
    type=FILE,
    help="The file for the progress of the check; with the same file a check continues.",
)
@click.option(
    "--tsa-certificate",
    "certificate",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The root of the authority that has time-stamped kept heads (PEM).",
)
def verify(
    data_dir: Path | None,
    kept: tuple[Path, ...],
    state: Path | None,
    certificate: Path | None,
) -> None:
    """Compare the whole log with its tree: every event, every tile, the root and the signed head.

    Exits with 1 and names the first position of each tile that differs. The server may run meanwhile. Exits with 75 if
    there is no fault, but the tree does not have all events of a kept head yet, as after a restore: run it again later.
    An owner of the database and the master key could make all of it again: only a head that was stored elsewhere
    reveals that, so name one with --head. With --state, an interrupted check continues, and checked parts are not
    checked again. A time-stamp beside a head (.tsr) is checked, too.
    """
    from api.cli.audit.verify import verify_tree

    verify_tree(data_dir, kept, state, certificate)


@audit_group.command()
@click.argument("url")
@click.option("--into", type=FOLDER, required=True, help="The folder of the heads.")
@click.option(
    "--token", envvar="EXECUTIONS_TOKEN", show_envvar=True, help="Bearer token of that service."
)
@click.option("--key", help="The public key of that log; by default the first that is shown.")
@click.option("--every", type=click.FloatRange(1), default=60, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Check the head once.")
def follow(
    url: str, into: Path, token: str | None, key: str | None, every: float, *, once: bool
) -> None:
    """Store the signed heads of the service at URL, and check that the log only grows.

    Each head must be signed by the key that was pinned first, and extend the one before: the service has to prove that
    it has only appended. A head that contradicts is stored, too, and ends this with 1. With --once it ends with 75
    where the service does not answer.
    """
    from api.cli.audit.follow import follow_heads

    follow_heads(url, into, token, key, None if once else every)
