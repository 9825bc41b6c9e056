"""Where a client finds the service, and with which token: said, or that of the local server."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx

from api.embedded_postgres import address_file
from api.embedded_postgres.data_dir import DataDir
from api.settings import Settings, SetupError, read

LOCAL = {"127.0.0.1", "::1", "localhost"}
HOST = re.compile(r"[^\s\[\]%]+|[0-9a-f:.]+(%.+)?")
TOKEN = re.compile(r"[!-~]+")


class Address(NamedTuple):
    """Where a service is, and what to show it."""

    url: str
    token: str | None


def address(url: str | None, token: str | None, data_dir: Path | None) -> Address:
    """The service at an address; the local one's own token is never sent anywhere else.

    Raises:
        SetupError: it is no address, that is no token, or there is no local server's data directory.
    """
    settings = read(data_dir=data_dir)
    folder = DataDir(settings.data_dir)
    if data_dir is not None or not (url or token or settings.admin_token):
        _require_used(folder)
    token = token or None
    local = None if url else address_file.read(folder.address_file)
    chosen = (url or local or f"http://127.0.0.1:{settings.port}").strip()
    host = _host(chosen)
    if token is None and (local or host in LOCAL):
        token = _local_token(settings, folder)
    return Address(chosen.rstrip("/").removesuffix("/api"), token and _checked(token))


def unreached(url: str, reason: str) -> str:
    """What to say of a service that has not answered yet."""
    return f"{url} cannot be reached ({reason}). Is it running? Else name it with --url"


def unknown(where: Address) -> str:
    """What to say of a service that answers 401."""
    if where.token:
        return f"{where.url} does not accept the token: is --token (EXECUTIONS_TOKEN) right?"
    return f"{where.url} asks for a token: give one with --token or EXECUTIONS_TOKEN"


def _require_used(folder: DataDir) -> None:
    if not folder.is_used:
        raise folder.missing()


def _local_token(settings: Settings, folder: DataDir) -> str | None:
    if settings.admin_token:
        return settings.admin_token
    with suppress(OSError):
        return folder.admin_token_file.read_text()
    return None


def _host(url: str) -> str:
    with suppress(httpx.InvalidURL, UnicodeError):
        parsed = httpx.URL(url)
        host = parsed.host
        host.encode("idna")
        if parsed.scheme in {"http", "https"} and HOST.fullmatch(host):
            return host
    raise SetupError(f"`{url}` is no address like http://127.0.0.1:8000")


def _checked(token: str) -> str:
    """The token without what clings to it when it is pasted; never shown, whatever it is."""
    stripped = token.strip()
    if not TOKEN.fullmatch(stripped):
        raise SetupError(
            "what was given as the token (--token, EXECUTIONS_TOKEN, admin.token) cannot be one: it "
            "is empty, or has spaces, line ends or letters beyond ASCII"
        )
    return stripped
