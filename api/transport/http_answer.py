"""Encodes whole HTTP responses for one write: of direct commands, and of refusals by the protocol."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.problems import problems
from api.telemetry.metrics import REFUSALS
from domain.errors import DomainError

Field = tuple[bytes, bytes]
PROTECTIVE: tuple[Field, ...] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
"""Security headers of responses that do not set them: not cached, and without rights as a page."""


def header_lines(fields: Iterable[Field]) -> bytes:
    """Encode header fields as lines of HTTP/1.1."""
    return b"".join(b"%b: %b\r\n" % field for field in fields)


PROTECTION = header_lines(PROTECTIVE)


def whole_answer(response: Response, defaults: bytes, *, keep_alive: bool) -> bytes:
    """Encode a response; `defaults` are the header lines of all responses."""
    parts = [STATUS_LINE[response.status_code], defaults, PROTECTION]
    parts.append(header_lines(response.raw_headers))
    if not keep_alive and "connection" not in response.headers:
        parts.append(b"connection: close\r\n")
    return b"".join([*parts, b"\r\n", bytes(response.body)])


def whole_refusal(error: DomainError, fields: Iterable[Field]) -> bytes:
    """Encode a refusal, after which the connection is closed, and count it by its code."""
    REFUSALS.labels(error.code).inc()
    return whole_answer(problems.answer(error, ""), header_lines(fields), keep_alive=False)
