"""The SDK's client for commands of the command line, and the texts of its errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.embedded_postgres.data_dir import DataDir
from api.settings import SetupError, read

if TYPE_CHECKING:  # the import takes a while, and `executions --help` does not need it
    from service_executions import Client, ExecutionsError

ADVICE = "Is it running? Else name it with --url"
PURPOSE_REQUIRED = "An auditor has to name the purpose of a read: give it with --purpose"
WRONG_URL = "Is --url right?"
RETRIES = 2
"""Retries of one request; few, as a person waits for the answer."""


def connect(url: str | None, token: str | None, data_dir: Path | None, **options: Any) -> Client:
    """Make a client of the service at a URL, by default of the local one, whose token is never sent elsewhere.

    Raises:
        SetupError: the URL or the token is not valid, or there is no data directory of a local server.
    """
    import service_executions as sdk

    settings = read(data_dir=data_dir)
    folder = DataDir(settings.data_dir)
    if data_dir is not None or not (url or token or settings.admin_token):
        _require_used(folder)
    try:
        return sdk.Client(
            url, token, data_dir=settings.data_dir, **{"max_retries": RETRIES, **options}
        )
    except sdk.SetupError as error:
        raise SetupError(str(error)) from None


def _require_used(folder: DataDir) -> None:
    if not folder.is_used:
        raise folder.missing()


def reason(error: ExecutionsError, client: Client) -> str:
    """The text for a request that had no answer, or was refused."""
    import service_executions as sdk

    if isinstance(error, sdk.ConnectionFailed):
        return f"{error}. {ADVICE if error.is_passing else WRONG_URL}"
    if isinstance(error, sdk.ApiError) and error.status == 401:
        return _token_refused(client)
    if isinstance(error, sdk.ApiError) and error.type.endswith("/purpose-required"):
        return PURPOSE_REQUIRED
    if isinstance(error, sdk.Invalid) and error.errors:
        return "; ".join(f"{each['path']}: {each['message']}" for each in error.errors)
    return str(error)


def _token_refused(client: Client) -> str:
    if client.transport.address.token:
        return f"{client.url} does not accept the token: is --token (EXECUTIONS_TOKEN) right?"
    return f"{client.url} asks for a token: give one with --token or EXECUTIONS_TOKEN"
