"""A running service with executions to watch, and consumers that keep their place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.conftest import (  # noqa: F401 - fixtures are found by their names here
    api,
    catalog,
    completed_execution,
    executions,
    module_database,
    queued_execution,
    retrying_execution,
    running_execution,
    server,
)
from tests.fire.conftest import serving
from tests.fire.service import Service


@pytest.fixture
def process(database: str) -> Iterator[Service]:
    """A server that is a process of its own, and may be killed."""
    with serving(database) as service:
        yield service


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether there is time: `--thorough`."""
    return bool(request.config.getoption("--thorough"))
