"""What the tests under fire may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import reachable_folder
from tests.fire.service import Service


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether there is time: `--thorough`."""
    return bool(request.config.getoption("--thorough"))


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A running service with a database of its own; a test leaves it running."""
    with serving() as service:
        yield service


@contextmanager
def serving(database: str | None = None, **settings: str) -> Iterator[Service]:
    with reachable_folder() as folder:
        service = Service(folder, database, **settings)
        service.start()
        try:
            yield service
        finally:
            service.close()
