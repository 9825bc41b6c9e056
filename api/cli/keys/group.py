"""`executions keys`: API keys, over the service, and the master key, beside it."""

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
    help="A command of the shell that prints the new key in base64.",
)
def rotate_master(data_dir: Path | None, to_command: str | None) -> None:
    """Give the log a new master key, while no server runs.

    Every data key is wrapped again; no event is touched, and signed heads, secrets of webhooks and API keys stay as
    they are. Broken off anywhere, it goes on when it is run again in the same way, and no server starts until then.

    Without --to-command the new key takes the place of master.key, and the former one stays beside it, as
    master.key.former-ID. Keep it elsewhere for as long as you keep backups from before, then destroy it: what was
    erased cannot be read out of them without.
    """
    from api.cli.keys.rotate_master import rotate

    rotate(data_dir, to_command)
