"""A server, a relay, NATS and an edge for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api_client import ok
from tests.support.databases import reachable_folder
from tests.support.fan_out import FanOut, fanning_out, nats_program
from tests.support.load import CATALOG
from tests.support.service_process import Service
from tests.support.stream_consumers import client


@pytest.fixture(scope="module")
def log_server(module_database: str) -> Iterator[Service]:
    """A server in its own process, with a catalog in its log."""
    nats_program()
    with reachable_folder() as folder:
        service = Service(folder, module_database)
        try:
            service.start()
            with client(service.url) as api:
                for path, entry in CATALOG:
                    ok(api.post(f"/{path}", json=entry))
            yield service
        finally:
            service.close()


@pytest.fixture(scope="module")
def fan_out(log_server: Service) -> Iterator[FanOut]:
    with fanning_out(log_server) as made:
        yield made
