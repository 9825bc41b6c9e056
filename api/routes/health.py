"""Whether the service lives, whether it is ready, and its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp

from api.access.rights import Right
from api.telemetry import metrics
from api.web import event_stream, watch
from api.web.operation import Operation
from api.web.request import Request
from api.web.responses import json
from domain.errors import Overloaded

if TYPE_CHECKING:
    from api.app import System


async def alive(_: Request) -> ASGIApp:
    """The process answers."""
    return json({"status": "ok"})


async def ready(request: Request) -> ASGIApp:
    """Commands are taken and the database answers; every view is shown with its position and what
    it has parked. As a stream: the same whenever it changes.
    """
    if event_stream.preferred(request):
        return watch.watched(
            request, "readiness", lambda: _readiness(request.system), MOST_WATCHERS
        )
    shown = await _readiness(request.system)
    if shown["status"] == "ready":
        return json(shown)
    return json(shown, {"retry-after": "1"}, 503)


async def _readiness(system: System) -> dict[str, Any]:
    try:
        system.bus.require_room(1)
        head, _ = await system.store.head()
        progress = await system.runner.progress()
    except Overloaded as error:
        return {"status": "unavailable", "detail": error.detail}
    views = {
        each.view: {
            "position": each.position,
            "lag": max(0, head - each.position),
            "parked": each.parked,
        }
        for each in progress
    }
    return {"status": "ready", "position": head, "views": views}


async def projections(request: Request) -> ASGIApp:
    """Every view with its position, lag and parked events, and how far a rebuild of it is. As a
    stream: the same whenever it changes.
    """
    if event_stream.preferred(request):
        return watch.watched(request, "projections", lambda: _watched(request.system))
    return json(await _projections(request.system))


async def _projections(system: System) -> dict[str, Any]:
    head, _ = await system.store.head()
    data = [
        {
            "view": each.view,
            "position": each.position,
            "lag": max(0, head - each.position),
            "parked": each.parked,
            **_rebuild(each.rebuilt, head),
        }
        for each in await system.progress.now()
    ]
    return {"position": head, "data": data}


async def _watched(system: System) -> dict[str, Any] | None:
    try:
        return await _projections(system)
    except Overloaded:
        return None  # there is news when the database is back


def _rebuild(rebuilt: int | None, head: int) -> dict[str, Any]:
    if rebuilt is None:
        return {}
    progress = round(100 * min(rebuilt, head) / head, 1) if head else 0
    return {"rebuild": {"position": rebuilt, "progress": progress}}


async def prometheus(request: Request) -> ASGIApp:
    """The figures in Prometheus' text format."""
    head, _ = await request.system.store.head()
    metrics.LOG_POSITION.set(head)
    metrics.COMMANDS_WAITING.set(request.system.bus.waiting)
    for progress in await request.system.runner.progress():
        metrics.VIEW_POSITION.labels(progress.view).set(progress.position)
        metrics.VIEW_PARKED.labels(progress.view).set(progress.parked)
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


STATUS = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
WHOLE = {"type": "integer", "minimum": 0}
PROJECTION = {
    "type": "object",
    "required": ["view", "position", "lag", "parked"],
    "properties": {
        "view": {"type": "string"},
        "position": WHOLE,
        "lag": WHOLE,
        "parked": WHOLE,
        "rebuild": {
            "type": "object",
            "required": ["position", "progress"],
            "properties": {
                "position": WHOLE,
                "progress": {"type": "number", "minimum": 0, "maximum": 100},
            },
        },
    },
}
PROJECTIONS = {
    "type": "object",
    "required": ["position", "data"],
    "properties": {"position": WHOLE, "data": {"type": "array", "items": PROJECTION}},
}
STREAM = {"text/event-stream": {"type": "string"}}
MOST_WATCHERS = 20
"""Of the readiness, which whoever reaches the server may watch: others' streams have places, too."""
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
        answer_forms=STREAM,
    ),
    Operation(
        "projections",
        "GET",
        "/projections",
        Right.OPERATE,
        "How far each view is, and each rebuild of one; with `Accept: text/event-stream`, as it changes",
        projections,
        answer=PROJECTIONS,
        answer_forms=STREAM,
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
