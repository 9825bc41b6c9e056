"""Finds the address of the service and the token: from arguments, the environment, or the service on this machine."""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx2

from service_executions.errors import SetupError

DEFAULT = "http://127.0.0.1:8000"
LOCAL = {"127.0.0.1", "::1", "localhost"}
HOST = re.compile(r"[^\s\[\]%]+|[0-9a-f:.]+(%.+)?")
TOKEN = re.compile(r"[!-~]+")


class Address(NamedTuple):
    """The address of a service, without `/api`, and the token for it."""

    url: str
    token: str | None

    @property
    def api(self) -> str:
        """The address to which all paths are appended."""
        return f"{self.url}/api"


def find(
    url: str | None = None, token: str | None = None, data_dir: str | Path | None = None
) -> Address:
    """Return the address and the token of the service: of `url`, else of `EXECUTIONS_URL`, else of the service on this
    machine.

    The token is `token`, else `EXECUTIONS_TOKEN`, else, only for a service on this machine, the administrator's token, if
    its file can be read. `data_dir` is the data directory of the service on this machine, if it is not the default one.

    Raises:
        SetupError: the address or the token is invalid.
    """
    url = url or os.environ.get("EXECUTIONS_URL")
    token = token or os.environ.get("EXECUTIONS_TOKEN") or None
    folder = _data_dir() if data_dir is None else Path(data_dir)
    local = None if url else read_published(folder / "address")
    chosen = (url or local or _usual()).strip()
    if token is None and (local or _host(chosen) in LOCAL):
        token = _local_token(folder)
    return Address(_check_url(chosen), token and _check_token(token))


def _check_url(url: str) -> str:
    _host(url)
    return url.rstrip("/").removesuffix("/api")


def _host(url: str) -> str:
    with suppress(httpx2.InvalidURL, UnicodeError):
        parsed = httpx2.URL(url)
        host = parsed.host
        host.encode("idna")
        if parsed.scheme in {"http", "https"} and HOST.fullmatch(host):
            return host
    raise SetupError(f"`{url}` is no address like {DEFAULT}")


def _check_token(token: str) -> str:
    """Return a token without surrounding whitespace. Errors never show it."""
    stripped = token.strip()
    if not TOKEN.fullmatch(stripped):
        raise SetupError(
            "what was given as the token (as such, in EXECUTIONS_TOKEN or admin.token) cannot be one: it "
            "is empty, or has spaces, line ends or letters beyond ASCII"
        )
    return stripped


def _data_dir() -> Path:
    """Return the default data directory of a service on this machine."""
    if own := os.environ.get("EXECUTIONS_DATA_DIR"):
        return Path(own)
    if of_user := os.environ.get("XDG_DATA_HOME"):
        return Path(of_user) / "executions"
    if os.geteuid() == 0:
        return Path("/var/lib/executions")
    return Path.home() / ".local" / "share" / "executions"


def _usual() -> str:
    port = os.environ.get("EXECUTIONS_PORT")
    return f"http://127.0.0.1:{port}" if port else DEFAULT


def read_published(file: Path) -> str | None:
    """Return the address in a file that a running service keeps locked; None if no service is running."""
    with suppress(OSError), file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return opened.read().strip() or None
    return None


def _local_token(folder: Path) -> str | None:
    if admin := os.environ.get("EXECUTIONS_ADMIN_TOKEN"):
        return admin
    with suppress(OSError):
        return (folder / "admin.token").read_text()
    return None
