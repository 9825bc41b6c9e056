"""Turns every error of a request into its answer, counts it, and logs it if it is no refusal."""

from __future__ import annotations

import structlog
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Scope

from api.problems import problems
from api.telemetry.metrics import REFUSALS
from domain.errors import NO_MEMORY, Damaged, DomainError, OutcomeUnknown, Overloaded

READS = {"GET", "HEAD", "WEBSOCKET"}
NO_ROOM = "The server has no memory left for this; send it again."

log = structlog.get_logger()


def refusal(error: Exception, scope: Scope) -> Response:
    """The response to a request that failed, counted by problem code. An error that is no refusal is logged, and answered
    as `internal` (500).
    """
    if isinstance(error, ValidationError):
        error = problems.invalid(error)
    method = scope.get("method", "WEBSOCKET")
    if isinstance(error, MemoryError):
        log.error("no memory is left", method=method, path=scope["path"])
        error = Overloaded(NO_ROOM) if method in READS else OutcomeUnknown(NO_MEMORY)
    if not isinstance(error, DomainError):
        log.error("request failed", method=method, path=scope["path"], exc_info=error)
        error = problems.Internal()
    if isinstance(error, Damaged):
        log.error("stored data is damaged", path=scope["path"], reason=str(error))
    REFUSALS.labels(error.code).inc()
    return problems.answer(error, scope["path"])
