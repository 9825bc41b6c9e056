"""Fixtures for tests of projections: databases that have the tables of the projections, too."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest

from api.embedded_postgres.server import EmbeddedPostgres
from domain import registry
from projections.engine.migrations import migrate_projections
from projections.engine.parallel_rebuild import Processes
from projections.executions.projection import Executions
from tests.support.databases import new_database
from tests.support.forked_children import FORKED, forked_rebuild_workers
from tests.support.forked_program import start_forked
from tests.support.rebuilds import Several

WITH_EXECUTIONS = f"executions_{os.getpid()}"


@pytest.fixture(scope="session")
def executions_template(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> Iterator[str]:
    """The name of a template that has the tables of the executions view, too."""
    with new_database(admin, WITH_EXECUTIONS) as name:
        view = Executions(registry.codec())
        migrate_projections(postgres.conninfo(name), "executions", [view])
        yield name


@pytest.fixture(scope="module")
def module_views(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, executions_template: str
) -> Iterator[str]:
    """Like `views`, but shared by all tests of a module, which must only read."""
    with new_database(admin, template=executions_template) as name:
        yield postgres.conninfo(name)


@pytest.fixture
def views(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, executions_template: str
) -> Iterator[str]:
    """The connection string of an empty database that has the tables of the executions view."""
    with new_database(admin, template=executions_template) as name:
        yield postgres.conninfo(name)


@pytest.fixture
def several() -> Iterator[Several]:
    """Forks this many processes of a rebuild, with everything imported."""
    with forked_rebuild_workers(start_forked):
        yield lambda number: Processes(number, FORKED)
