"""What the tests under fire may ask for."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether there is time: `--thorough`."""
    return bool(request.config.getoption("--thorough"))
