"""Helpers for testing programs that record executions: clients without a service, and a real service for a test."""

from service_executions.testing.fake import AsyncFakeClient, FakeClient
from service_executions.testing.recorded import Recorded
from service_executions.testing.server import Server

__all__ = ["AsyncFakeClient", "FakeClient", "Recorded", "Server"]
