"""What the asynchronous half needs of its world."""

from __future__ import annotations

from asyncio import CancelledError, sleep

import httpx2

__all__ = ["CANCELLED", "HttpClient", "Transport", "sleep"]

HttpClient = httpx2.AsyncClient
Transport = httpx2.AsyncBaseTransport
CANCELLED: tuple[type[BaseException], ...] = (CancelledError, KeyboardInterrupt, SystemExit)
"""What ends work without being its failure."""
