"""`executions audit bundle`: the history of an execution as a zip that proves itself."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.client.ask import talk
from api.cli.options import At

PATIENCE = {"Prefer": "wait=30"}
LONGEST = 120.0
"""Seconds that making it may take."""


def write_bundle(at: At, execution: str, output: Path) -> None:
    """Ask the service for the bundle, and write it whole or not at all."""
    from service_executions.requests import Request, segment

    path = f"/audit/bundle/{segment(execution)}"
    with talk(at) as client:
        asked = Request("GET", path, headers=PATIENCE, timeout=LONGEST)
        content = client.transport.send(asked).content
    part = output.with_name(f".{output.name}.part")
    try:
        part.write_bytes(content)
        part.replace(output)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"{output}: unpack it, and run `python3 verify.py` in there.")
