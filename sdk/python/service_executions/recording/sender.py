"""Makes the buffer of a client: with the transport that sends its batches, and the folder in which they wait."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2
from pydantic_core import from_json

from service_executions._sync.transport import Transport
from service_executions.address import Address
from service_executions.recording.buffer import Buffer
from service_executions.recording.spool import Spool, default_root
from service_executions.requests import Request
from service_executions.retries import Retries
from service_executions.session import Session

TIMEOUT = 10.0
"""Seconds for the answer to one batch."""


def buffer(
    address: Address,
    http: httpx2.Client,
    session: Session,
    spool: str | None,
    headers: dict[str, str],
    *,
    closes: bool,
) -> Buffer:
    """Return a buffer that sends to a service. Its batches wait in the folder `spool`, or by default in one of the user's.

    With `closes`, the buffer closes the HTTP client when it is closed.
    """
    options: dict[str, Any] = {"timeout": TIMEOUT, "consistent": False, "headers": headers}
    transport = Transport(address, http, session, Retries(0), **options)
    owner = os.getpid()

    def post(body: bytes, key: str) -> list[dict[str, Any]]:
        nonlocal owner, transport
        if owner != (here := os.getpid()):  # forked: the connections belong to the parent process
            owner = here
            transport = Transport(address, httpx2.Client(), session, Retries(0), **options)
        named = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
        answer = transport.once(Request("POST", "/commands", content=body, headers=named))
        outcomes: list[dict[str, Any]] = from_json(answer.content)
        return outcomes

    kept = Spool(Path(spool) if spool else default_root(address.url))
    return Buffer(post, kept, http.close if closes else lambda: None)
