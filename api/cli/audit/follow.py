"""`executions audit follow`: stores another service's signed heads, and checks that each extends the one before."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.audit.head_folder import HeadFolder
from api.cli.client.service_client import open_client, send_request
from api.cli.options import At
from api.cli.terminal import plain
from projections.audit.followed import (
    Contradiction,
    needs_proof,
    require_consistent,
    verified_head,
)
from projections.audit.note import TreeCheckpoint

if TYPE_CHECKING:
    from service_executions import Client


class NotAsked(click.ClickException):
    """The service does not answer; a later attempt may succeed."""

    exit_code = 75


def follow_heads(
    url: str, into: Path, token: str | None, key: str | None, every: float | None
) -> None:
    """Check the head once, or every `every` seconds, until the service contradicts itself."""
    from api.client.connection import reason
    from service_executions import ExecutionsError

    folder = HeadFolder(into, key)
    with open_client(At(url, token, None)) as client:
        while True:
            try:
                _check_head(client, folder)
            except (ExecutionsError, KeyError, TypeError, ValueError) as error:
                why = plain(
                    reason(error, client)
                    if isinstance(error, ExecutionsError)
                    else f"{type(error).__name__}: {error}"
                )
                if every is None:
                    raise NotAsked(f"{client.url} could not be asked: {why}") from None
                click.echo(f"{client.url} could not be asked: {why}", err=True)
            if every is None:
                return
            time.sleep(every)


def _check_head(client: Client, folder: HeadFolder) -> None:
    """Get the head, check that it extends the newest stored one, and store it."""
    shown = send_request(client, "GET", "/audit/tree-head")
    note, shown_key, size = str(shown["note"]), str(shown["publicKey"]), int(shown["treeSize"])
    kept = folder.newest()
    try:
        head = verified_head(note, shown_key, folder.key or shown_key)
        folder.pin(shown_key)
        if kept is not None and needs_proof(kept, head):
            _require_proof(client, kept, head)
    except Contradiction as found:
        file = folder.keep_contradiction(note, size)
        raise click.ClickException(
            f"{client.url} contradicts itself: {plain(str(found))}. The head that it shows is kept in {file}"
        ) from None
    if kept is None or head.size > kept.size:
        folder.keep(note, head.size)
        since = f", and follow on the {kept.size} of before" if kept else ""
        click.echo(f"{head.size} events are signed{since}.")


def _require_proof(client: Client, kept: TreeCheckpoint, head: TreeCheckpoint) -> None:
    proof = send_request(client, "GET", f"/audit/consistency?from={kept.size}&to={head.size}")
    require_consistent(kept, head, [bytes.fromhex(each) for each in proof["path"]])
