"""Where the service is, and with which token: said, in the environment, or that of this machine."""

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
    """Where a service is, without `/api`, and what to show it."""

    url: str
    token: str | None

    @property
    def api(self) -> str:
        """The address below which all paths are."""
        return f"{self.url}/api"


def find(
    url: str | None = None, token: str | None = None, data_dir: str | Path | None = None
) -> Address:
    """The service: `url`, else `EXECUTIONS_URL`, else the one that runs on this machine.

    The token is `token`, else `EXECUTIONS_TOKEN`; for a service of this machine, else its administrator's,
    where its file can be read. That one is never sent anywhere else. `data_dir` is the data directory of the
    service on this machine, where it has another one than usual.

    Raises:
        SetupError: it is no address, or that is no token.
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
    """The token without what clings to it when it is pasted; never shown, whatever it is."""
    stripped = token.strip()
    if not TOKEN.fullmatch(stripped):
        raise SetupError(
            "what was given as the token (as such, in EXECUTIONS_TOKEN or admin.token) cannot be one: it "
            "is empty, or has spaces, line ends or letters beyond ASCII"
        )
    return stripped


def _data_dir() -> Path:
    """The data directory of the service that runs on this machine without further settings."""
    if said := os.environ.get("EXECUTIONS_DATA_DIR"):
        return Path(said)
    if kept := os.environ.get("XDG_DATA_HOME"):
        return Path(kept) / "executions"
    if os.geteuid() == 0:
        return Path("/var/lib/executions")
    return Path.home() / ".local" / "share" / "executions"


def _usual() -> str:
    port = os.environ.get("EXECUTIONS_PORT")
    return f"http://127.0.0.1:{port}" if port else DEFAULT


def read_published(file: Path) -> str | None:
    """The address in a file that its service keeps locked while it runs; None where none does."""
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
