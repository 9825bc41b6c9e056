"""The options of commands that name the service, or the data directory of a log."""

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
LOCAL = "The data directory of the local server, for its address and its token."
PURPOSE = "The purpose of the read, which is recorded with each read and required of auditors."
DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of keys, tokens and the embedded database (EXECUTIONS_DATA_DIR).",
)
"""The option of commands that work on the log itself."""
PROCESSES = click.option(
    "--processes",
    type=click.IntRange(1, 64),
    help="The number of processes; by default one for each processor, at most 4.",
)
"""The option of commands that read the whole log."""
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
    """The service that the options of a command name, and the purpose of its reads."""

    url: str | None
    token: str | None
    data_dir: Path | None
    purpose: str | None = None

    def client(self, **options: Any) -> Client:
        """Make a client of the service. Raises SetupError where the options name none."""
        from api.client.connection import connect

        return connect(*self[:3], purpose=self.purpose, **options)


def at_service(command: Command) -> Command:
    """Add `--url`, `--token` and `--data-dir` to a command, which gets them as `at`."""

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
    """Add `--url`, `--token`, `--data-dir` and `--purpose` to a command that reads executions, which gets them as `at`."""
    return click.option("--purpose", help=PURPOSE)(at_service(command))
