"""Fixtures of all tests: databases of their own on one server per session."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, cast

import httpx
import httpx2
import hypothesis
import psycopg
import pytest
import structlog

from api.embedded_postgres.server import EmbeddedPostgres
from domain.eventlog.store import Store
from projections import preparation
from tests.support import examples, processes, sample_aggregate
from tests.support.copied_clusters import copied_clusters
from tests.support.databases import (
    FAST,
    TEMPLATE,
    WITH_VIEWS,
    hash_password_once,
    migrate,
    new_database,
    reachable_folder,
)
from tests.support.memory_store import MemoryLog, MemoryStore
from tests.support.paths import ROOT
from tests.support.service_process import Service, serving

examples.register_profiles()
hypothesis.settings.load_profile("executions")

# A traceback with the source and the variables of every frame takes up to seconds.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)

# A cached logger would keep the configuration of the first program that a test ran.
CONFIGURE = structlog.configure


def configure(**options: Any) -> None:
    """`structlog.configure`, but loggers are made anew each time."""
    CONFIGURE(**options | {"cache_logger_on_first_use": False})


structlog.configure = cast(Any, configure)

# Tests do not depend on settings of a server that their user runs on this machine.
for variable in [name for name in os.environ if name.startswith("EXECUTIONS_")]:
    del os.environ[variable]


# Loading the certificates of all authorities takes 30 ms for each client, and tests make thousands.
for transports in cast(tuple[Any, ...], (httpx._transports.default, httpx2._transports.default)):
    transports.create_ssl_context = cache(transports.create_ssl_context)


def patch_cookies(extract: Callable[..., None]) -> Callable[..., None]:
    """A replacement for the parser of cookies that runs only if the answer sets some: most set none."""

    def extract_where_set(cookies: Any, response: Any) -> None:
        if "set-cookie" in response.headers:
            extract(cookies, response)

    return extract_where_set


for jar in cast(tuple[Any, ...], (httpx.Cookies, httpx2.Cookies)):
    jar.extract_cookies = patch_cookies(jar.extract_cookies)


RESILIENCE = ROOT / "tests/resilience"

# Tests connect only to this machine: names other than its own are not resolved.
LOOK_UP = socket.getaddrinfo
LOCAL = ("localhost", "127.0.0.1", "::1", None, "")


def look_up_here(host: Any, *more: Any, **named: Any) -> Any:
    """`getaddrinfo` for numeric addresses and for this machine."""
    text = host.decode() if isinstance(host, bytes) else host
    if text not in LOCAL:
        named["flags"] = named.get("flags", 0) | socket.AI_NUMERICHOST
    return LOOK_UP(host, *more, **named)


socket.getaddrinfo = look_up_here


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres-bin",
        type=Path,
        help="programs of an installed PostgreSQL, to test with instead of the embedded one",
    )
    parser.addoption(
        "--postgres-data",
        type=Path,
        help="the folder of an embedded PostgreSQL that runs already, to test with",
    )
    parser.addoption(
        "--thorough", action="store_true", help="let tests of faults last several times longer"
    )
    parser.addoption(
        "--nightly", action="store_true", help="run clusters, too, each for about two minutes"
    )
    parser.addoption(
        "--fast", action="store_true", help="run only tests that start no process and no database"
    )


def pytest_configure(config: pytest.Config) -> None:
    for profile in ("fast", "thorough"):
        if config.getoption(f"--{profile}"):
            hypothesis.settings.load_profile(profile)
    if config.getoption("--thorough"):
        config.option.timeout = 0
    else:
        examples.draw_no_constants_of_the_code()
    config.pluginmanager.register(NamedFailures(config))


class NamedFailures:
    """Print the name of a test as soon as it fails, so that an interrupted run shows it."""

    def __init__(self, config: pytest.Config) -> None:
        self.plugins = config.pluginmanager

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self.plugins.get_plugin("terminalreporter")
        if report.failed and terminal:
            terminal.write_line(f"FAILED {report.nodeid} ({report.when})")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests that start processes; `--fast` deselects them."""
    for item in items:
        if processes.may_start_process(item):
            item.add_marker(pytest.mark.process)
    if config.getoption("--fast"):
        started = [item for item in items if item.get_closest_marker("process")]
        items[:] = [item for item in items if item not in set(started)]
        config.hook.pytest_deselected(items=started)
    if hasattr(config, "workerinput"):
        sort_for_workers(items)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from scanning objects that live as long as the tests."""
    gc.collect()
    gc.freeze()


def sort_for_workers(items: list[pytest.Item]) -> None:
    """Put files with tests that start processes first, and those of `tests/resilience` before all.

    So the last tests of a run are short, and no worker waits long for another one.
    """
    long = {item.path for item in items if item.get_closest_marker("process")}
    items.sort(key=lambda item: (RESILIENCE not in item.path.parents, item.path not in long))


@pytest.fixture(scope="session", autouse=True)
def no_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Under `--fast`, a test that starts a process anyway fails."""
    if not request.config.getoption("--fast"):
        yield
        return
    with processes.forbid_starts():
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_bin(request: pytest.FixtureRequest) -> Path | None:
    """The installed PostgreSQL to test with; None is the embedded one."""
    chosen: Path | None = request.config.getoption("--postgres-bin")
    return chosen


@pytest.fixture(scope="session")
def new_clusters() -> Iterator[None]:
    """Run `initdb` once, and copy its result for further clusters."""
    with copied_clusters():
        yield


@pytest.fixture(scope="session")
def postgres(
    request: pytest.FixtureRequest, postgres_bin: Path | None, new_clusters: None
) -> Iterator[EmbeddedPostgres]:
    """One server for the session (with xdist: for each worker); never stop it in a test."""
    running: Path | None = request.config.getoption("--postgres-data")
    with (
        nullcontext(running) if running else reachable_folder() as folder,
        EmbeddedPostgres(folder, settings=FAST, bin_dir=postgres_bin) as server,
    ):
        if server.owned:
            hash_password_once(server)
        yield server


@pytest.fixture(scope="session")
def admin(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    with (
        psycopg.connect(postgres.conninfo(), autocommit=True) as connection,
        new_database(connection, TEMPLATE, template="template0"),
    ):
        migrate(postgres.conninfo(TEMPLATE))
        yield connection


@pytest.fixture(scope="session")
def views_template(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> Iterator[str]:
    """The name of a template that has the tables of all views, too."""
    with new_database(admin, WITH_VIEWS) as name:
        preparation.migrate(postgres.conninfo(name), "executions")
        yield name


@pytest.fixture
def database(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> Iterator[str]:
    """The connection string of a new, migrated, empty database of this test."""
    with new_database(admin) as name:
        yield postgres.conninfo(name)


@pytest.fixture
def database_with_views(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, views_template: str
) -> Iterator[str]:
    """The same with the tables of all views: creating them takes longer than most tests."""
    with new_database(admin, template=views_template) as name:
        yield postgres.conninfo(name)


@pytest.fixture(params=["postgres", "memory"])
def new_store(request: pytest.FixtureRequest) -> Callable[[], Store]:
    """Makes stores of one log, each as in a process of its own; on every backend."""
    if request.param == "memory":
        log = MemoryLog()
        return lambda: MemoryStore(log, sample_aggregate.codec(), sample_aggregate.keyring())
    database: str = request.getfixturevalue("database")
    return lambda: sample_aggregate.store(database)


@pytest.fixture
def postgres_root(new_clusters: None) -> Iterator[Path]:
    """A folder for a PostgreSQL of the test, which may be killed and restarted."""
    with reachable_folder() as folder:
        yield folder


@pytest.fixture
def process(database: str) -> Iterator[Service]:
    """A server as a process of its own, which may be killed."""
    with serving(database) as service:
        yield service


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether to run long: `--thorough`."""
    return bool(request.config.getoption("--thorough"))


@pytest.fixture(scope="session")
def nightly(request: pytest.FixtureRequest) -> bool:
    """Whether to start clusters, though not to break them in every way: `--nightly`."""
    return bool(request.config.getoption("--nightly"))
