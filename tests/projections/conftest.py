"""What the tests of the views may ask for: a database with the views' tables, too."""

from __future__ import annotations

import pytest

from domain import registry
from projections.engine.migrations import migrate_projections
from projections.executions.projection import Executions


@pytest.fixture
def views(database: str) -> str:
    """Connection string of an empty database that has the tables of the executions view."""
    migrate_projections(database, "executions", [Executions(registry.codec())])
    return database
