"""A whole HTTP answer in one write: of a direct command, or of a refusal before the application is asked."""

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
"""What answers say that do not say otherwise: nobody keeps them, and as a page they do nothing."""


def header_lines(fields: Iterable[Field]) -> bytes:
    """Header fields as HTTP/1.1 writes them."""
    return b"".join(b"%b: %b\r\n" % field for field in fields)


PROTECTION = header_lines(PROTECTIVE)


def whole_answer(response: Response, defaults: bytes, *, keep_alive: bool) -> bytes:
    """The bytes of a response; `defaults` are the header lines of all responses."""
    parts = [STATUS_LINE[response.status_code], defaults, PROTECTION]
    parts.append(header_lines(response.raw_headers))
    if not keep_alive and "connection" not in response.headers:
        parts.append(b"connection: close\r\n")
    return b"".join([*parts, b"\r\n", bytes(response.body)])


def whole_refusal(error: DomainError, fields: Iterable[Field]) -> bytes:
    """The bytes of a refusal, after which the connection is closed; it is counted by its code."""
    REFUSALS.labels(error.code).inc()
    return whole_answer(problems.answer(error, ""), header_lines(fields), keep_alive=False)
