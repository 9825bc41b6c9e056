"""The registry of a deployment: a file that has the location of each log by name. Programs that make, move or drop a
log write the file; servers read it again when it has changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from api.settings import LOG_NAME, SetupError
from domain.eventlog.setup.databases import database_of

PRIVATE = 0o600
"""The mode of the file: nobody else may read it, as connection strings have passwords."""
HOST = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?$"
Url = Annotated[str, Field(pattern="=|://")]
TAKEN = re.compile(r"_(views|views_awaited|moved)$|_(rebuild|verify)_")
"""Parts of the names of channels and of schemas for rebuilt views, which begin with the schema of their log."""


def _not_taken(schema: str) -> str:
    """Raises ValueError where the name of a schema could be a channel or a schema of another log."""
    if found := TAKEN.search(schema):
        raise ValueError(
            f"has `{found[0]}`, as has what belongs to another log: choose another schema"
        )
    return schema


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LogLocation:
    """The location of a log: its schema, in the database of the deployment or in one of its own (`url`), whose tables
    another user may own (`owner_url`); and the hosts at which it is served, besides its path.
    """

    schema: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,47}$"), AfterValidator(_not_taken)]
    url: Url | None = Field(default=None, repr=False)
    owner_url: Url | None = Field(default=None, repr=False)
    hosts: tuple[Annotated[str, Field(pattern=HOST)], ...] = ()

    @classmethod
    def of(cls, name: str, *, url: str | None = None, owner_url: str | None = None) -> LogLocation:
        """The location of a new log, in a schema that is named for it."""
        return cls(schema=database_of(name), url=url, owner_url=owner_url)


LOCATIONS = TypeAdapter(dict[Annotated[str, Field(pattern=f"^{LOG_NAME.pattern}$")], LogLocation])


class HostedState(NamedTuple):
    """The hosted logs of a process: the number of known and of open ones, and the names of those that could not be opened
    at the last request.
    """

    known: int
    open: int
    away: list[str]

    @property
    def shown(self) -> dict[str, Any]:
        """The member `logs` of `/readyz`."""
        return {"logs": self._asdict()}


class LogRegistry:
    """Reads and writes the file. A change is atomic, and by one program at a time."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> dict[str, LogLocation]:
        """The location of every log by name; empty where there is no file.

        Raises:
            SetupError: the file cannot be read, or is not valid; the message quotes no connection string.
        """
        try:
            text = self.file.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SetupError(f"{self.file}: {error.strerror}") from None
        try:
            locations = LOCATIONS.validate_json(text)
        except ValidationError as error:
            raise SetupError(f"{self.file}: {_first_error(error)}") from None
        _require_distinct(self.file, locations)
        return locations

    def put(self, name: str, location: LogLocation) -> None:
        """Add a log, or change its location.

        Raises:
            SetupError: as in `read`, or another log has the same location or host.
        """
        with self._locked_change() as locations:
            locations[name] = location

    def require_free(self, name: str, location: LogLocation) -> None:
        """Check that no other log has a location or one of its hosts.

        Raises:
            SetupError: as in `put`.
        """
        _require_distinct(self.file, {**self.read(), name: location})

    def remove(self, name: str) -> None:
        """Remove a log.

        Raises:
            SetupError: as in `read`.
        """
        with self._locked_change() as locations:
            locations.pop(name, None)

    def stamp(self) -> tuple[int, ...]:
        """A value that changes whenever the file does, or who may read it."""
        try:
            found = self.file.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size

    @contextmanager
    def _locked_change(self) -> Iterator[dict[str, LogLocation]]:
        with self.file.with_name(f"{self.file.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            locations = self.read()
            yield locations
            _require_distinct(self.file, LOCATIONS.validate_python(locations))
            self._write(locations)

    def _write(self, locations: Mapping[str, LogLocation]) -> None:
        new = self.file.with_name(f"{self.file.name}.new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "w") as file:
            json.dump(
                {name: _document(location) for name, location in locations.items()}, file, indent=2
            )
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.file)


def _document(location: LogLocation) -> dict[str, Any]:
    return {name: value for name, value in asdict(location).items() if value}


def _require_distinct(file: Path, locations: Mapping[str, LogLocation]) -> None:
    """Raises SetupError where two logs have the same location or host."""
    taken: dict[object, str] = {}
    for name, location in locations.items():
        for key in ((location.url, location.schema), *location.hosts):
            if (other := taken.setdefault(key, name)) != name:
                raise SetupError(f"{file}: `{name}` and `{other}` have the same location or host")


def _first_error(error: ValidationError) -> str:
    """The text of the first error, without the wrong value, which may be a password."""
    wrong = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}"
