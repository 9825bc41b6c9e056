"""Whether the service lives, whether it is ready, and its figures."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp

from api.access.rights import Right
from api.telemetry import metrics
from api.web.operation import Operation
from api.web.request import Call
from api.web.responses import json
from domain.errors import Overloaded


async def alive(_: Call) -> ASGIApp:
    """The process answers."""
    return json({"status": "ok"})


async def ready(call: Call) -> ASGIApp:
    """Commands are taken and the database answers; every view is shown with its position and what
    it has parked.
    """
    try:
        call.system.bus.require_room(1)
        head, _ = await call.system.store.head()
        shown = await views(call, head)
    except Overloaded as error:
        return json({"status": "unavailable", "detail": error.detail}, {"retry-after": "1"}, 503)
    return json({"status": "ready", "position": head, "views": shown})


async def views(call: Call, head: int) -> dict[str, Any]:
    """Position, lag and parked events of every view."""
    return {
        progress.view: {
            "position": progress.position,
            "lag": max(0, head - progress.position),
            "parked": progress.parked,
        }
        for progress in await call.system.runner.progress()
    }


async def prometheus(call: Call) -> ASGIApp:
    """The figures in Prometheus' text format."""
    head, _ = await call.system.store.head()
    metrics.LOG_POSITION.set(head)
    metrics.COMMANDS_WAITING.set(call.system.bus.waiting)
    for progress in await call.system.runner.progress():
        metrics.VIEW_POSITION.labels(progress.view).set(progress.position)
        metrics.VIEW_PARKED.labels(progress.view).set(progress.parked)
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


STATUS = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
OPERATIONS = (
    Operation(
        "health", "GET", "/healthz", Right.OPEN, "Whether the process lives", alive, answer=STATUS
    ),
    Operation(
        "readiness",
        "GET",
        "/readyz",
        Right.OPEN,
        "Whether the database answers, and how far each view is",
        ready,
        answer=STATUS,
    ),
    Operation(
        "metrics",
        "GET",
        "/metrics",
        Right.OPERATE,
        "Figures for Prometheus",
        prometheus,
        media_type="text/plain",
        answer={"type": "string"},
    ),
)
