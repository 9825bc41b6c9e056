"""A running service with executions to watch, and consumers that keep their place."""

from __future__ import annotations

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


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether there is time: `--thorough`."""
    return bool(request.config.getoption("--thorough"))
