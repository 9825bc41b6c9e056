"""What the synchronous half needs of its world."""

from __future__ import annotations

from time import sleep

import httpx2

__all__ = ["CANCELLED", "HttpClient", "Transport", "sleep"]

HttpClient = httpx2.Client
Transport = httpx2.BaseTransport
CANCELLED: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit)
"""What ends work without being its failure."""
