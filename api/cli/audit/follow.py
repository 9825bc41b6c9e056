"""`executions audit follow`: another service's signed heads, each of which must follow on the one before."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import httpx

from api.cli.audit.head_folder import HeadFolder
from api.cli.client.tail import plain
from api.client.address import Address, address
from api.client.event_source import Refused, authorization, require_ok
from api.settings import SetupError
from projections.audit.followed import (
    Contradiction,
    needs_proof,
    require_consistent,
    signed_head,
)
from projections.audit.note import Checkpoint


class NotAsked(click.ClickException):
    """The service could not be asked; another time it may be."""

    exit_code = 75


def follow_heads(
    url: str, into: Path, token: str | None, key: str | None, every: float | None
) -> None:
    """Look once, or every so many seconds, until the service contradicts itself."""
    try:
        where = address(url, token, None)
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    folder = HeadFolder(into, key)
    with httpx.Client(headers=authorization(where), timeout=30) as client:
        while True:
            try:
                _look(client, where, folder)
            except (Refused, httpx.HTTPError, KeyError, TypeError, ValueError) as error:
                reason = plain(str(error) or type(error).__name__)
                if every is None:
                    raise NotAsked(f"{where.url} could not be asked: {reason}") from None
                click.echo(f"{where.url} could not be asked: {reason}", err=True)
            if every is None:
                return
            time.sleep(every)


def _look(client: httpx.Client, where: Address, folder: HeadFolder) -> None:
    """Ask for the head, and keep it where it follows on the newest one that is kept."""
    shown = _asked(client, where, "/audit/tree-head", {})
    note, shown_key, size = str(shown["note"]), str(shown["publicKey"]), int(shown["treeSize"])
    kept = folder.newest()
    try:
        head = signed_head(note, shown_key, folder.key or shown_key)
        folder.pin(shown_key)
        if kept is not None and needs_proof(kept, head):
            _require_proof(client, where, kept, head)
    except Contradiction as found:
        place = folder.keep_contradiction(note, size)
        raise click.ClickException(
            f"{where.url} contradicts itself: {plain(str(found))}. The head that it shows is kept in {place}"
        ) from None
    if kept is None or head.size > kept.size:
        folder.keep(note, head.size)
        since = f", and follow on the {kept.size} of before" if kept else ""
        click.echo(f"{head.size} events are signed{since}.")


def _require_proof(
    client: httpx.Client, where: Address, kept: Checkpoint, head: Checkpoint
) -> None:
    query = {"from": str(kept.size), "to": str(head.size)}
    proof = _asked(client, where, "/audit/consistency", query)
    require_consistent(kept, head, [bytes.fromhex(each) for each in proof["path"]])


def _asked(client: httpx.Client, where: Address, path: str, query: dict[str, str]) -> Any:
    response = client.get(f"{where.url}/api{path}", params=query)
    require_ok(where, response)
    return response.json()
