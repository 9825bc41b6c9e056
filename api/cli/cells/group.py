"""`executions cells …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from api.cli.command_group import CommandGroup
from api.cli.options import DATA_DIR

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(name="cells", cls=CommandGroup)
def cells_group() -> None:
    """Manage several logs. A log with the server that serves it is a cell.

    A log has a name (EXECUTIONS_LOG), and a database of its own. `create` makes one, on the PostgreSQL of
    EXECUTIONS_DATABASE_URL or on the embedded one; `list` shows all; `move` moves one to another database while it is
    served; `drop` deletes one; `map` writes the map by which nginx or HAProxy send each request to its log.

    Where EXECUTIONS_LOGS names the file of the logs that one server serves, the commands are about these logs.
    """


@cells_group.command()
@click.argument("name")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="With EXECUTIONS_LOGS: a host at which the log is served, besides its path; may be given several times.",
)
@DATA_DIR
@JSON
def create(name: str, hosts: tuple[str, ...], data_dir: Path | None, *, as_json: bool) -> None:
    """Make a database for a log named NAME, and its tables.

    The database is named executions_NAME, on the server of the settings, whose user must be allowed to make it. Run
    again, this makes only what is missing. Then serve the log, with a data directory of its own that has the same
    master.key or another one: the first server that starts decides.

    With EXECUTIONS_LOGS it makes a schema executions_NAME instead, and adds the log to that file: running servers
    serve it within a second.
    """
    from api.cli.cells.logs import create_log

    create_log(name, hosts, data_dir, as_json=as_json)


@cells_group.command(name="list")
@DATA_DIR
@JSON
def list_(data_dir: Path | None, *, as_json: bool) -> None:
    """Show the logs on the PostgreSQL server: name, database, head and size.

    The head is the position of the last event, and its time; the size is that of the whole database. Logs are
    found in the schema of the settings (EXECUTIONS_SCHEMA), in each database into which the user may look. With
    EXECUTIONS_LOGS it shows the logs of that file, and in which schema each is.
    """
    from api.cli.cells.logs import list_logs

    list_logs(data_dir, as_json=as_json)


@cells_group.command()
@click.argument("name")
@click.option(
    "--to",
    required=True,
    metavar="URL",
    help="The new database, as the owner there: a database that has no log yet.",
)
@click.option(
    "--from",
    "source",
    metavar="URL",
    help="The URL by which the server of the new database connects to the old one; by default that of this command.",
)
@click.option(
    "--stay",
    is_flag=True,
    help="Servers do not follow by themselves, as the target of their URL (HAProxy) is changed instead.",
)
@click.option(
    "--then",
    metavar="COMMAND",
    help="A shell command that is run once the new database accepts commands, such as one that reconfigures HAProxy.",
)
@click.option(
    "--pause",
    type=click.FloatRange(0.2, 60),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long commands may wait at most; then the move stops, and the old database accepts them again.",
)
@click.option("--abort", is_flag=True, help="Take back a move that is not complete.")
@click.option(
    "--new-is-lost",
    is_flag=True,
    help="With --abort: the new database is lost, and cannot be reached.",
)
@click.option("--dry-run", is_flag=True, help="Only print what prevents the move.")
@DATA_DIR
@JSON
def move(name: str, to: str, data_dir: Path | None, **options: Any) -> None:
    """Move the log NAME to another database while it is served.

    All tables are copied and followed by PostgreSQL's logical replication, and compared. Then commands wait, for less than a
    second as a rule: they are answered 503, with Retry-After. When the new database has everything, it accepts commands,
    and running servers and work processes connect to it by themselves, with their present user and password; streams
    stay open. The settings that they were started with should be changed then, but need not be at once.

    An interrupted move continues when it is run again; until the new database accepts commands, --abort takes it back. Only
    one command moves a log at a time. The old database stays as it was, closed for good: drop it when nothing connects to
    it any more.
    """
    from api.cli.cells.move import Options, move_log

    move_log(name, data_dir, Options(to, **options))


@cells_group.command()
@click.argument("name")
@click.option(
    "--confirm",
    metavar="NAME",
    help="The name as a confirmation; by default the command asks for it.",
)
@DATA_DIR
@JSON
def drop(name: str, confirm: str | None, data_dir: Path | None, *, as_json: bool) -> None:
    """Drop the log NAME for good: its database, or its schema where there is more in the database.

    It prints what is deleted, and asks for the name as a confirmation. A log with a running server or work process is
    refused; a log in the file EXECUTIONS_LOGS is removed from the file first, and dropped once servers have closed it. The
    master key and the files of the archive stay.
    """
    from api.cli.cells.drop import drop_named

    drop_named(name, confirm, data_dir, as_json=as_json)


@cells_group.command(name="map")
@click.option(
    "--for",
    "proxy",
    type=click.Choice(["nginx", "haproxy"]),
    required=True,
    help="For nginx: name and URL. For HAProxy: name and backend.",
)
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="HOST=NAME",
    help="A host of its own for a log, as well; may be given several times.",
)
def map_(proxy: str, tenants: tuple[str, ...]) -> None:
    """Write the map of EXECUTIONS_CELLS for a proxy, to standard output.

    Each line has the name of a log, or the host of a tenant, and the target of its requests: for nginx a URL, as in
    `proxy_pass`; for HAProxy the backend with the name of the log. docs/cells.md has the rest of the configuration.
    """
    from api.cli.cells.proxy_map import print_map

    print_map(proxy, tenants)
