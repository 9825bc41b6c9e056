"""A log `north` whose map has the logs `south`, and `west`, which is unavailable."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.ports import free_port
from tests.support.running_server import Serving, serving


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("north", "south", "west")}


@pytest.fixture(scope="module")
def cells(ports: dict[str, int]) -> str:
    return ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in ports.items())


@pytest.fixture(scope="module")
def server(module_database: str, ports: dict[str, int], cells: str) -> Iterator[Serving]:
    with serving(module_database, ports["north"], log_name="north", cells=cells) as running:
        yield running
