"""Clients without a service, which accept every command and keep it."""

from __future__ import annotations

import httpx2

from service_executions._async.client import AsyncClient
from service_executions._sync.client import Client
from service_executions.testing.recorded import MemoryService, Recorded

NOWHERE = "http://executions.invalid"


class FakeClient(Client):
    """A `Client` that makes no connection and keeps its commands in `commands`, in order.

    Executions show the members that were sent. No rule is checked, nothing happens by itself, and there are neither streams
    nor figures. Buffered commands appear after `flush()`.
    """

    def __init__(self) -> None:
        self._service = MemoryService()
        http = httpx2.Client(transport=httpx2.MockTransport(self._service))
        super().__init__(NOWHERE, "fake", http_client=http)

    @property
    def commands(self) -> list[Recorded]:
        """All commands so far."""
        return self._service.commands


class AsyncFakeClient(AsyncClient):
    """An `AsyncClient` that makes no connection and keeps its commands in `commands`, as `FakeClient` does."""

    def __init__(self) -> None:
        self._service = MemoryService()
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._service))
        super().__init__(NOWHERE, "fake", http_client=http)

    @property
    def commands(self) -> list[Recorded]:
        """All commands so far."""
        return self._service.commands

    def _connection_of_buffer(self) -> tuple[httpx2.Client, bool]:
        return httpx2.Client(transport=httpx2.MockTransport(self._service)), True
