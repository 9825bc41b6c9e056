"""`executions keys`: creates, lists and revokes API keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from api.access.rights import Role
from api.cli.client.service_client import open_client, send_request
from api.cli.command_group import CommandGroup
from api.cli.options import At, at_service
from api.cli.tables import print_table, whole_column

if TYPE_CHECKING:
    from service_executions import Client

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
SPAN = re.compile(r"(\d{1,6})([mhdw])")
PARTIES = (Role.CUSTOMER, Role.PROVIDER, Role.ASSIGNEE, Role.AUDITOR)
"""Roles that are somebody's: their keys name a party."""
OF_USERS = (Role.CUSTOMER, Role.PROVIDER)
STATUSES = ("active", "expired", "revoked")
PAGE = 500


CREATE_HELP = """Create a key and print only the key. It is shown this once, as only its HMAC is stored.

\b
  executions keys create --role customer --party acme
  executions keys create --role provider --party outreach --name ci --expires 90d
  executions keys create --role assignee --party worker-7 --provider outreach --right executions.read

Names of assignees and workers are of the whole log: anybody may choose the same. So narrow the key of an
assignee by --provider, --customer or both to executions that are theirs. The words are those of `POST /keys`; the
party may also be named by the option that is called like the role.
"""


@click.group("keys", cls=CommandGroup)
def keys_group() -> None:
    """Create, list and revoke API keys, while the service is running; change the master key, while it is not."""


def parties(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option to a command for each role of a party."""
    for role in reversed(PARTIES):
        narrows = "With --role assignee: only what is theirs. " if role in OF_USERS else ""
        whose = f"{narrows}With --role {role}: the same as --party."
        command = click.option(f"--{role}", metavar="ID", help=whose)(command)
    return command


@keys_group.command("create", help=CREATE_HELP)
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="The role of the key.",
)
@click.option(
    "--party",
    metavar="ID",
    help=f"Whose key it is. Needed with --role {', '.join(PARTIES[:-1])} and {PARTIES[-1]}.",
)
@parties
@click.option("--name", help="Shown behind its party in the history, as in provider:acme/ci.")
@click.option(
    "--expires", help="When the key expires: 90d, 12h, 30m, 4w or a time. By default never."
)
@click.option("--right", "rights", multiple=True, help="Only this right of the role; repeatable.")
@at_service
def create(
    at: At,
    *,
    role: str,
    party: str | None,
    name: str | None,
    expires: str | None,
    rights: tuple[str, ...],
    **named: str | None,
) -> None:
    from domain.json_forms import format_time

    wanted = {
        "role": role,
        **_whose_key(role, party, {other: id_ for other, id_ in named.items() if id_ is not None}),
        "name": name,
        "rights": list(rights) or None,
        "expiresAt": None if expires is None else format_time(_time(expires)),
    }
    body = {member: value for member, value in wanted.items() if value is not None}
    with open_client(at) as client:
        click.echo(send_request(client, "POST", "/keys", body)["key"])


def _whose_key(role: str, party: str | None, named: dict[str, str]) -> dict[str, str]:
    """The members of a key that say whose it is, and to whose executions it is narrowed."""
    narrowed = OF_USERS if role == Role.ASSIGNEE else ()
    if strange := sorted(named.keys() - {role, *narrowed}):
        raise click.UsageError(
            f"--{strange[0]} does not go with --role {role}: --party says whose key it is"
        )
    if party is not None and role in named:
        raise click.UsageError(f"--party and --{role} are the same: give --party alone")
    party = named.pop(role, party)
    if role in PARTIES and party is None:
        raise click.UsageError(f"--role {role} needs --party: whose key it is")
    if role not in PARTIES and party is not None:
        raise click.UsageError(f"--role {role} is nobody's in particular: leave out --party")
    return named if party is None else {"party": party, **named}


@keys_group.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only keys with this status.")
@click.option("--json", "as_json", is_flag=True, help="Print each key as a line of JSON.")
@at_service
def list_keys(at: At, *, status: str | None, as_json: bool) -> None:
    """List keys, with their parties, expiry and last use; never the keys themselves."""
    with open_client(at) as client:
        found = _all_keys(client, status)
    if as_json:
        for key in found:
            click.echo(json.dumps(key))
        return
    if not found:
        click.echo(
            "There are no keys." if status is None else f"There are no keys that are {status}."
        )
        return
    table = Table(whole_column("key"), "role", "party", "name", "status", "expires", "last used")
    for key in found:
        members = key["role"], _party_of(key), key.get("name", "")
        ends = (key.get("expiresAt", "never"), key.get("lastUsedAt", "never"))
        table.add_row(key["$id"], *members, key["status"], *ends)
    print_table(table)


@keys_group.command("revoke")
@click.argument("key")
@at_service
def revoke(at: At, key: str) -> None:
    """Revoke KEY, by its id (`key_…`): requests with it are refused, and its streams end."""
    from service_executions.requests import segment

    with open_client(at) as client:
        send_request(client, "DELETE", f"/keys/{segment(key)}")
    click.echo(f"{key} is revoked", err=True)


def _party_of(key: dict[str, Any]) -> str:
    narrowed = [f"{party} {key[party]}" for party in OF_USERS if party in key]
    return " of ".join([key.get("party", ""), *narrowed])


def _all_keys(client: Client, status: str | None) -> list[dict[str, Any]]:
    from service_executions import Query
    from service_executions.requests import read

    asked = {"limit": PAGE, "status": status}
    pages: Query[dict[str, Any]] = Query(client.transport, read("/keys", asked), lambda key: key)
    return pages.all()


def _time(text: str) -> datetime:
    from domain.json_forms import parse_time

    try:
        if (span := SPAN.fullmatch(text)) is not None:
            return datetime.now(UTC) + timedelta(**{UNITS[span[2]]: int(span[1])})
        return parse_time(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{error}; or say how long, as in 90d", param_hint="--expires"
        ) from None
