"""The client with which commands send requests to the service, and the message after an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import orjson

from api.cli.options import At
from api.cli.terminal import plain
from api.settings import SetupError

if TYPE_CHECKING:
    from service_executions import Client


@contextmanager
def open_client(at: At, **options: Any) -> Iterator[Client]:
    """A client of the service for the block. Its errors end the command with a message of one line."""
    from api.client.connection import reason
    from service_executions import ExecutionsError

    logging.getLogger("service_executions").addHandler(logging.NullHandler())  # `on_lost` prints it
    try:
        with at.client(**options) as client:
            try:
                yield client
            except ExecutionsError as error:
                raise click.ClickException(plain(reason(error, client))) from None
    except SetupError as error:
        raise click.ClickException(plain(str(error))) from None
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)


def send_request(client: Client, method: str, path: str, members: Any = None) -> Any:
    """Send a request, and return the JSON of the answer."""
    from service_executions.requests import Request, post

    request = Request(method, path) if members is None else post(path, members)
    return orjson.loads(client.transport.send(request).content)
