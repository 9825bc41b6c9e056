"""`executions audit bundle`: the history of an execution as a zip that proves itself."""

from __future__ import annotations

from pathlib import Path

import click
import httpx

from api.cli.client.tail import plain
from api.client.address import address, unreached
from api.client.event_source import Refused, authorization, require_ok
from api.settings import SetupError

PATIENCE = "wait=30"


def write_bundle(
    execution: str,
    output: Path,
    purpose: str | None,
    *,
    url: str | None,
    token: str | None,
    data_dir: Path | None,
) -> None:
    """Ask the service for the bundle, and write it whole or not at all."""
    try:
        where = address(url, token, data_dir)
        headers = {**authorization(where), "Prefer": PATIENCE}
        if purpose is not None:
            headers["X-Purpose"] = purpose
        with httpx.Client(headers=headers, timeout=120) as client:
            response = client.get(f"{where.url}/api/audit/bundle/{execution}")
        require_ok(where, response)
    except (Refused, SetupError) as error:
        raise click.ClickException(plain(str(error))) from None
    except httpx.HTTPError as error:
        raise click.ClickException(unreached(where.url, str(error))) from None
    part = output.with_name(f".{output.name}.part")
    try:
        part.write_bytes(response.content)
        part.replace(output)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"{output}: unpack it, and run `python3 verify.py` in there.")
