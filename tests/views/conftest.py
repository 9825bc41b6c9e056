"""What the tests of the views may ask for: a database with the views' tables, too."""

from __future__ import annotations

import pytest

from domain import house
from projections import kernel
from projections.executions import Executions


@pytest.fixture
def views(database: str) -> str:
    """Connection string of an empty database that has the tables of the executions view."""
    kernel.migrate(database, "executions", [Executions(house.codec())])
    return database
