"""For tests of programs that record: a client without a service, and a service of the test's own."""

from service_executions.testing.fake import AsyncFakeClient, FakeClient
from service_executions.testing.recorded import Recorded
from service_executions.testing.server import Server

__all__ = ["AsyncFakeClient", "FakeClient", "Recorded", "Server"]
