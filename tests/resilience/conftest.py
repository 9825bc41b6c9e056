"""A running service that the tests may kill, freeze and cut off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.service_process import Service, serving


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A running service with a database of its own; a test leaves it running."""
    with serving() as service:
        yield service
