"""`executions audit bundle`: the history of an execution as a zip file with its proofs."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.audit.whole_file import write_whole
from api.cli.client.service_client import open_client
from api.cli.options import At

WAIT = {"Prefer": "wait=30"}
LONGEST = 120.0
"""Seconds for the service to make the bundle."""


def write_bundle(at: At, execution: str, output: Path) -> None:
    """Get the bundle from the service, and write it atomically."""
    from service_executions.requests import Request, segment

    with open_client(at) as client:
        path = f"/audit/bundle/{segment(execution)}"
        asked = Request("GET", path, headers=WAIT, timeout=LONGEST)
        content = client.transport.send(asked).content
    write_whole(output, content)
    click.echo(f"{output}: unpack it, and run `python3 verify.py` in there.")
