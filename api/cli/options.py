"""The options by which a command finds the service, or its log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

URL = "The service; by default the local server of --data-dir, else http://127.0.0.1:8000."
TOKEN = "Bearer token; by default that of the local server."  # noqa: S105  (a help text)
LOCAL = "Of the local server, for its address and its token."
DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where keys, tokens and the embedded database are kept (EXECUTIONS_DATA_DIR).",
)
"""For commands that work on the log itself."""
OPTIONS = (
    click.option("--url", envvar="EXECUTIONS_URL", show_envvar=True, help=URL),
    click.option("--token", envvar="EXECUTIONS_TOKEN", show_envvar=True, help=TOKEN),
    click.option(
        "--data-dir",
        envvar="EXECUTIONS_DATA_DIR",
        show_envvar=True,
        type=click.Path(path_type=Path),
        help=LOCAL,
    ),
)


def at_service(command: Command) -> Command:
    """A command with `--url`, `--token` and `--data-dir`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
