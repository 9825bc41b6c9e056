"""`executions cells …`."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.options import DATA_DIR

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(name="cells")
def cells_group() -> None:
    """Look after several logs: one log, with the server that serves it, is a cell.

    A log has a name (EXECUTIONS_LOG), and a database of its own. `create` makes that, on the PostgreSQL of
    EXECUTIONS_DATABASE_URL or on the embedded one; `list` shows which there are; `map` writes what nginx or HAProxy
    need to send each request to its log.
    """


@cells_group.command()
@click.argument("name")
@DATA_DIR
@JSON
def create(name: str, data_dir: Path | None, *, as_json: bool) -> None:
    """Make a database for a log named NAME, and its tables.

    The database is called executions_NAME, on the server that the settings name, whose user must be allowed to make
    it. Run again it makes what is missing. Then serve it, with a data directory of its own that has the same
    master.key or another one: the first server that starts decides.
    """
    from api.cli.cells.logs import create_log

    create_log(name, data_dir, as_json=as_json)


@cells_group.command(name="list")
@DATA_DIR
@JSON
def list_(data_dir: Path | None, *, as_json: bool) -> None:
    """Show the logs on the PostgreSQL server: name, database, head and size.

    The head is the position of the last event, and its time; the size is that of the whole database. Logs are
    found in the schema of the settings (EXECUTIONS_SCHEMA), in each database into which the user may look.
    """
    from api.cli.cells.logs import list_logs

    list_logs(data_dir, as_json=as_json)


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

    Each line has the name of a log, or the host of a tenant, and where requests for it go: for nginx a URL, as in
    `proxy_pass`; for HAProxy the backend that is called as the log. docs/cells.md has the lines around it.
    """
    from api.cli.cells.proxy_map import print_map

    print_map(proxy, tenants)
