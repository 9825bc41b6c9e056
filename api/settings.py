"""The settings, read once from the environment and the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

PREFIX = "EXECUTIONS_"
OF_CLIENTS = ("URL", "TOKEN")
"""Variables of the commands that are clients, without the prefix."""
SECRET = {
    *("admin_token", "database_url", "database_owner_url", "read_database_url"),
    *("master_key", "master_key_command", "witnesses", "jwt_key", "edge_key", "nats_url"),
}
SHORTEST_TOKEN = 16
"""Characters of an administrator's token at least, so that it cannot be guessed."""
LOG_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
FOR_POSTGRES = {"PATH", "LD_LIBRARY_PATH", "TMPDIR"}
"""The variables of the environment that PostgreSQL gets; its settings come from its own file."""


class SetupError(Exception):
    """The service cannot start; the message says why and what to do."""


def long_enough(token: str) -> str:
    """Check the length of the administrator's token. Raises ValueError where it is too short."""
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(f"needs at least {SHORTEST_TOKEN} characters")
    return token


def of_networks(text: str) -> str:
    """Check comma-separated networks. Raises ValueError where a part is no network."""
    for part in text.split(",") if text else ():
        ip_network(part.strip())
    return text


def origins(text: str) -> frozenset[str]:
    """Parse comma-separated origins, to lower case."""
    return frozenset(part.strip().rstrip("/").lower() for part in text.split(",") if part.strip())


def of_origins(text: str) -> str:
    """Check comma-separated origins. Raises ValueError where a part is no origin."""
    for origin in origins(text):
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or origin != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"must be origins like https://app.example, and `{origin}` is none")
    return text


def cells(text: str) -> dict[str, str]:
    """Parse the URLs of logs, by name. Raises ValueError where a part is not of the form `name=URL`."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, url = part.partition("=")
        parts = urlsplit(url)
        plain = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
        placed = parts.path.rstrip("/") in {"", f"/logs/{name}"}
        if not LOG_NAME.fullmatch(name) or not plain or not placed or parts.query:
            raise ValueError(f"must be like north=https://north.example, but has `{part[:100]}`")
        if name in found:
            raise ValueError(f"must name each log once, but has `{name}` twice")
        found[name] = url.rstrip("/")
    return found


def of_cells(text: str) -> str:
    """Check the URLs of logs. Raises ValueError where a part is not of the form `name=URL`."""
    cells(text)
    return text


def of_archive(url: str) -> str:
    """Check the URL of an archive. Raises ValueError where its scheme is not supported."""
    parts = urlsplit(url)
    local = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
    if not (local or (parts.scheme in ("s3", "gs", "az") and parts.netloc)):
        raise ValueError("must be like file:///folder, s3://bucket/path, gs://… or az://…")
    return url


def of_witnesses(text: str) -> str:
    """Check comma-separated URLs of witnesses. Raises ValueError where a part is no such URL."""
    for url in text.split(",") if text else ():
        kind, _, rest = url.strip().rpartition("tsa+")
        parts = urlsplit(rest)
        remote = parts.scheme in {"http", "https"} and parts.hostname
        local = parts.scheme == "file" and not parts.netloc and len(parts.path) > 1
        if kind or not (remote or (local and rest == url.strip())):
            raise ValueError(
                "must be like file:///folder/heads.txt, https://host/path or tsa+https://host/path"
            )
    return text


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of one process of the service.

    The environment variable of a field is `EXECUTIONS_` and its name in capitals.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    database_url: Annotated[str, Field(pattern="=|://")] | None = Field(default=None, repr=False)
    database_owner_url: Annotated[str, Field(pattern="=|://")] | None = Field(
        default=None, repr=False
    )
    read_database_url: Annotated[str, Field(pattern="=|://")] | None = Field(
        default=None, repr=False
    )
    schema: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,47}$")] = "executions"
    log: Annotated[str, Field(pattern=f"^{LOG_NAME.pattern}$")] | None = None
    cells: Annotated[str, AfterValidator(of_cells)] = ""
    logs: Path | None = None
    admin_token: Annotated[str, Field(pattern=r"^[!-~]+$"), AfterValidator(long_enough)] | None = (
        Field(default=None, repr=False)
    )
    master_key: str | None = Field(default=None, repr=False)
    master_key_command: str | None = Field(default=None, repr=False)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    queue_limit: Annotated[int, Field(ge=1)] = 10_000
    stream_limit: Annotated[int, Field(ge=1)] = 15_000
    connections_per_address: Annotated[int, Field(ge=1)] | None = None
    webhook_allow: Annotated[str, AfterValidator(of_networks)] = ""
    archive_url: Annotated[str, AfterValidator(of_archive)] | None = None
    lost_leases: Annotated[int, Field(ge=1, le=1_000)] = 5
    auditor_rate: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    witnesses: Annotated[str, AfterValidator(of_witnesses)] = Field(default="", repr=False)
    log_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    event_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    access_log_days: Annotated[int, Field(ge=30, le=36_500)] = 3_650
    public_url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+/?$")] | None = None
    trusted_proxies: Annotated[str, AfterValidator(of_networks)] = ""
    allowed_origins: Annotated[str, AfterValidator(of_origins)] = ""
    failed_attempts: Annotated[int, Field(ge=1)] = 20
    requests_per_second: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    session_hours: Annotated[int, Field(ge=1, le=720)] = 12
    jwt_key: Annotated[str, Field(min_length=32)] | None = Field(default=None, repr=False)
    jwt_public_key: Path | None = None
    jwt_jwks_url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+(/\S*)?$")] | None = None
    jwt_allow: Annotated[str, AfterValidator(of_networks)] = ""
    jwt_issuer: Annotated[str, Field(min_length=1)] | None = None
    jwt_audience: Annotated[str, Field(min_length=1)] | None = None
    jwt_leeway: Annotated[int, Field(ge=0, le=300)] = 30
    database_connections: Annotated[int, Field(ge=2, le=1000)] = 10
    nats_url: str | None = Field(default=None, repr=False)
    nats_stream: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")] | None = None
    nats_credentials: Path | None = None
    nats_ca: Path | None = None
    server_url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+/?$")] | None = None
    edge_key: str | None = Field(default=None, repr=False)

    @property
    def archive(self) -> str:
        """The URL of the archive: by default a folder of the data directory."""
        return self.archive_url or (self.data_dir.absolute() / "archive").as_uri()

    @property
    def archive_cache(self) -> Path:
        """The folder of local copies of archive files."""
        return self.data_dir / "archive-cache"

    @property
    def stamps(self) -> Path:
        """The folder of signed heads with their time-stamps."""
        return self.data_dir.absolute() / "time-stamps"

    @property
    def archiving(self) -> Path:
        """The folder of files that are being written to the archive."""
        return self.data_dir.absolute() / "archiving"


def read(environment: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Read the settings. An override that is not None takes precedence over the environment.

    An empty variable counts as not set. Raises SetupError, with a message of one line, for an invalid value.
    """
    variables = os.environ if environment is None else environment
    values: dict[str, object] = {"data_dir": _default_data_dir(variables)}
    for field in fields(Settings):
        if given := variables.get(PREFIX + field.name.upper()):
            values[field.name] = given
    values.update((name, value) for name, value in overrides.items() if value is not None)
    try:
        return TypeAdapter(Settings).validate_python(values)
    except ValidationError as error:
        raise SetupError(_in_one_line(error)) from None


def unknown(environment: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Variables with the prefix that are no settings, each with the settings that it is similar to."""
    variables = os.environ if environment is None else environment
    known = [*(field.name.upper() for field in fields(Settings)), *OF_CLIENTS]
    found = (name for name in sorted(variables) if name.startswith(PREFIX))
    return {
        name: [PREFIX + near for near in get_close_matches(name.removeprefix(PREFIX), known)]
        for name in found
        if name.removeprefix(PREFIX) not in known
    }


def environment_of_children() -> dict[str, str]:
    """The environment of this process without its settings: no child process needs its secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def environment_of_postgres() -> dict[str, str]:
    """The variables of this process's environment that the embedded PostgreSQL needs."""
    return {name: value for name, value in os.environ.items() if name in FOR_POSTGRES}


def _default_data_dir(variables: Mapping[str, str]) -> Path:
    if kept := variables.get("XDG_DATA_HOME"):
        return Path(kept) / "executions"
    if os.geteuid() == 0:
        # The user that PostgreSQL then runs as cannot read root's home.
        return Path("/var/lib/executions")
    return Path.home() / ".local" / "share" / "executions"


def _in_one_line(error: ValidationError) -> str:
    wrong = error.errors(include_url=False)[0]
    name = str(wrong["loc"][0])
    # The error of a secret must not show it on a terminal or in a log.
    shown = "" if name in SECRET else f", but it is {wrong['input']!r}"
    text = wrong["msg"].removeprefix("Value error, ")
    return f"{name} ({PREFIX}{name.upper()}): {text}{shown}"
