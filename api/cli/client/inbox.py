"""`executions inbox`: lists steps and executions that wait for people."""

from __future__ import annotations

import click
import orjson
from rich.table import Table

from api.cli.client.service_client import open_client
from api.cli.options import At, reading_at_service
from api.cli.tables import print_table, whole_column
from api.cli.terminal import plain, print_json


@click.command("inbox")
@click.option("--assignee", help="Only items that wait for this person.")
@click.option("--json", "as_json", is_flag=True, help="Print each item as a line of JSON.")
@reading_at_service
def inbox_command(at: At, *, assignee: str | None, as_json: bool) -> None:
    """Show open steps of people, and paused executions, the most urgent first."""
    from service_executions import Query
    from service_executions.requests import read

    table = Table(whole_column("execution"), "waits for", "step", "priority", "since")
    with open_client(at) as client:
        for each in Query(
            client.transport, read("/inbox", {"assignee": assignee, "limit": 500}), dict
        ):
            if as_json:
                print_json(orjson.dumps(each).decode())
            else:
                who, step = each.get("assignee") or {}, each.get("step") or {}
                row = (who.get("id", "anybody"), step.get("name", ""), each["priority"])
                table.add_row(*(plain(text) for text in (each["execution"], *row, each["since"])))
    print_table(table)
    if not (table.row_count or as_json):
        click.echo("Nothing waits for people.")
