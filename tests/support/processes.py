"""Finds the tests that start processes, by the fixtures that they use and the imports of their modules."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import NoReturn

import psycopg
import pytest

FIXTURES = frozenset({"postgres", "postgres_root"})
MODULES = frozenset({subprocess, multiprocessing})
STARTERS = frozenset(
    {
        "codegen.__main__",
        "tests.support.service_process",
        "tests.support.patroni_cluster",
        "tests.support.moved_log",
        "tests.support.standby",
        "api.embedded_postgres.server",
        "service_executions.testing.server",
    }
)


class ProcessStartForbidden(RuntimeError):
    """A test under `--fast` starts a process: tests/support/processes.py does not recognise it."""


def may_start_process(item: pytest.Item) -> bool:
    """Whether a test starts a process or a database, or may."""
    if not isinstance(item, pytest.Function):
        return False
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if parameters.get("new_store") == "postgres" or FIXTURES.intersection(item.fixturenames):
        return True
    return _imports_starter(item.module)


@cache
def _imports_starter(module: ModuleType) -> bool:
    return any(
        value in MODULES
        if isinstance(value, ModuleType)
        else getattr(value, "__module__", None) in STARTERS
        for value in vars(module).values()
    )


@contextmanager
def forbid_starts() -> Iterator[None]:
    """Make every start of a process, and every connection to PostgreSQL, an error."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise ProcessStartForbidden

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", refuse)
        patch.setattr(psycopg, "connect", refuse)
        patch.setattr(psycopg.Connection, "connect", refuse)
        patch.setattr(psycopg.AsyncConnection, "connect", refuse)
        yield
