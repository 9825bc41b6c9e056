"""The options by which a command finds the service, or its log."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from service_executions import Client

Command = Callable[..., Any]

URL = "The service; by default the local server of --data-dir, else http://127.0.0.1:8000."
TOKEN = "Bearer token; by default that of the local server."  # noqa: S105  (a help text)
LOCAL = "Of the local server, for its address and its token."
PURPOSE = "What it is read for: it is noted with each read, and auditors have to say it."
DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where keys, tokens and the embedded database are kept (EXECUTIONS_DATA_DIR).",
)
"""For commands that work on the log itself."""
PROCESSES = click.option(
    "--processes",
    type=click.IntRange(1, 64),
    help="How many work at it; else one for each processor, at most 4.",
)
"""For commands that read all of it."""
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


class At(NamedTuple):
    """The service that a command is for, as its options say, and what it reads there for."""

    url: str | None
    token: str | None
    data_dir: Path | None
    purpose: str | None = None

    def client(self, **options: Any) -> Client:
        """A client of it. Raises SetupError where the options name none."""
        from api.client.connection import connect

        return connect(*self[:3], purpose=self.purpose, **options)


def at_service(command: Command) -> Command:
    """A command with `--url`, `--token` and `--data-dir`, which it is given as `at`."""

    @wraps(command)
    def wrapper(
        *,
        url: str | None,
        token: str | None,
        data_dir: Path | None,
        purpose: str | None = None,
        **given: Any,
    ) -> Any:
        return command(at=At(url, token, data_dir, purpose), **given)

    for option in reversed(OPTIONS):
        wrapper = option(wrapper)
    return wrapper


def reading_at_service(command: Command) -> Command:
    """The same with `--purpose`, for what reads executions."""
    return click.option("--purpose", help=PURPOSE)(at_service(command))
