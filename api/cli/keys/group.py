"""`executions keys`: API keys, through the service, and the master key, without it."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.client.keys import keys_group
from api.cli.options import DATA_DIR

__all__ = ["keys_group"]


@keys_group.command("rotate-master")
@DATA_DIR
@click.option(
    "--to-command",
    metavar="COMMAND",
    help="A shell command that prints the new key in base64.",
)
def rotate_master(data_dir: Path | None, to_command: str | None) -> None:
    """Give the log a new master key, while no server is running.

    Every data key is wrapped again; events, signed heads, secrets of webhooks and API keys do not change. An interrupted
    change continues when it is run again in the same way, and no server starts until then.

    Without --to-command the new key replaces master.key, and the former one is stored beside it, as
    master.key.former-ID. Keep it elsewhere for as long as you keep older backups, then destroy it: without it, erased
    content cannot be read from these backups.
    """
    from api.cli.keys.rotate_master import rotate

    rotate(data_dir, to_command)
