"""Prepares the logs of a deployment before they are served or worked for: tables, names and keys."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from api.cells.registry import LogLocation
from api.database import Database
from api.settings import SetupError
from domain.eventlog.setup.log_name import OtherName
from projections.preparation import ReadyLog, make_ready

OF_ONE_DATABASE = 2
"""Logs of one database that are prepared at the same time: a database that hangs does not delay the others."""
T = TypeVar("T")


class Preparation(Generic[T]):
    """Prepares logs by `make`, which blocks: `at_once` logs at the same time, and few of one database."""

    def __init__(self, make: Callable[[str, LogLocation], T], at_once: int) -> None:
        self._make = make
        self._threads = ThreadPoolExecutor(at_once, "log opens")
        self._turns: defaultdict[str | None, asyncio.Semaphore] = defaultdict(
            partial(asyncio.Semaphore, OF_ONE_DATABASE)
        )

    async def of(self, name: str, location: LogLocation) -> T:
        """Prepare a log, and return the result of `make`. Raises the errors of `make`."""
        async with self._turns[location.url]:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._make, name, location)

    def close(self) -> None:
        """Prepare no further logs. Preparations that are running end by themselves."""
        self._threads.shutdown(wait=False)


def prepare_log(known: Database, master_key: bytes, name: str, location: LogLocation) -> ReadyLog:
    """Make the missing tables of a log in the database that it is in now, and return its keys. This blocks.

    `known` is the database of a location that names none.

    Raises:
        DomainError: the database is unavailable, or the log has another master key.
        SetupError: the log has another name.
    """
    named = database_at(known, location)
    try:
        return make_ready(named.owner, named.serving, location.schema, name, master_key)
    except OtherName as error:
        raise SetupError(str(error)) from None


def database_at(known: Database, location: LogLocation) -> Database:
    """The database of a location; `known`, that of the settings, where the location names none."""
    if location.url is None:
        return Database(known.owner, known.serving)
    return Database(location.owner_url or location.url, location.url)
