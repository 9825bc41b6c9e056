"""An answer that no application gives: a refusal, after which the connection is closed."""

from __future__ import annotations

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.problems import problems
from api.telemetry.metrics import REFUSALS
from domain.errors import DomainError


def whole_answer(error: DomainError, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes of a refusal, with these header fields besides; it is counted by its code."""
    REFUSALS.labels(error.code).inc()
    answer = problems.answer(error, "")
    lines = {**dict(fields), **dict(answer.raw_headers), b"connection": b"close"}
    headers = b"".join(b"%b: %b\r\n" % line for line in lines.items())
    return STATUS_LINE[answer.status_code] + headers + b"\r\n" + bytes(answer.body)
