"""A running service that the tests may kill, freeze and disconnect."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.service_process import Service, serving


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A running service with a database of its own; each test leaves it running."""
    with serving() as service:
        yield service
