"""One request of a command to the service, and what to say where it is refused."""

from __future__ import annotations

from typing import Any

import click
import httpx

from api.cli.client.tail import plain
from api.client.address import Address, unreached
from api.client.event_source import Refused, authorization, require_ok


def ask(where: Address, method: str, path: str, **how: Any) -> Any:
    """The JSON of the answer. Raises ClickException, one line, where there is none."""
    url = f"{where.url}/api{path}"
    try:
        with httpx.Client(headers=authorization(where), timeout=30) as client:
            response = client.request(method, url, **how)
        require_ok(where, response)
        return response.json()
    except Refused as error:
        raise click.ClickException(plain(str(error))) from None
    except httpx.HTTPError as error:
        raise click.ClickException(unreached(where.url, str(error))) from None
