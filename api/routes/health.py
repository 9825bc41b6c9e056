"""Liveness, readiness and metrics of the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp

from api.access.rights import Right
from api.cells.registry import HostedState
from api.claiming.dispatcher import ClaimDispatcher
from api.clock import Clock
from api.routes.engine.metrics import set_metrics
from api.streaming.hub import Hub
from api.telemetry.metrics import LogMetrics
from api.web.operation import Operation
from api.web.request import Request
from api.web.responses import VARY, json
from api.web.streams import event_stream, watch
from domain.errors import Overloaded
from domain.eventlog.connection.standby import Standby
from domain.eventlog.store import Store
from domain.json_forms import format_time
from domain.writer.command_bus import Bus
from projections.audit.rounds.walk import audit_totals
from projections.engine.position_tracker import PositionTracker
from projections.engine.rebuild_progress import RebuildProgress
from projections.other_log import OtherLog
from workers.ownership import without_owner

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
CONFIRMED = {
    "type": "object",
    "required": ["time", "leap"],
    "properties": {"time": {"type": "string", "format": "date-time"}, "leap": WHOLE},
}
STREAM = {"text/event-stream": {"type": "string"}}
CLOSING = "The server ends, or begins again with another log."
MOST_WATCHERS = 20
"""Streams of the readiness, which anybody may open, so that they leave room for other streams."""


class HealthHandlers:
    """Handles the operations of health, readiness and metrics."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        positions: PositionTracker,
        progress: RebuildProgress,
        hub: Hub,
        *,
        dispatcher: ClaimDispatcher,
        clock: Clock,
        standby: Standby | None = None,
        other: OtherLog | None = None,
        of_process: bool = True,
        others: Callable[[], HostedState | None] = lambda: None,
    ) -> None:
        self._bus = bus
        self._store = store
        self._positions = positions
        self._progress = progress
        self._hub = hub
        self._dispatcher = dispatcher
        self._clock = clock
        self._standby = standby
        self._other = other
        self._of_process = of_process
        self._others = others

    async def alive(self, _: Request) -> ASGIApp:
        """Answer that the process is running."""
        return json({"status": "ok"})

    async def ready(self, request: Request) -> ASGIApp:
        """Answer whether commands are accepted and the database answers, with the position and the parked events of each
        view; as a stream, again whenever that changes.
        """
        if event_stream.is_preferred(request):
            return watch.watch(self._hub, request, "readiness", self._readiness, MOST_WATCHERS)
        shown = await self._readiness()
        if shown["status"] == "ready":
            return json(shown, VARY)
        return json(shown, {"retry-after": "1", **VARY}, 503)

    async def _readiness(self) -> dict[str, Any]:
        self._clock()  # reading the clock detects a leap
        if self._hub.state.closing:
            return {"status": "unavailable", "detail": CLOSING}
        if (outage := self._store.outages.current) is not None:
            return {"status": "unavailable", "detail": outage.detail}
        try:
            self._bus.require_room(1)
            head, _ = await self._store.head()
            progress = await self._positions.progress()
            warnings = await self._warnings()
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
        named = {"log": self._store.log_name} if self._store.log_name else {}
        shown = {"status": "ready", **named, "position": head, "views": views}
        if self._standby is not None:
            shown["readsFrom"] = "standby" if self._standby.usable else "primary"
        return shown | warnings

    async def _warnings(self) -> dict[str, Any]:
        """Members about work that no process does, faults that the auditor has found, and a log that went back. Commands
        are accepted all the same.
        """
        async with self._store.reader() as connection:
            missing = await without_owner(connection, self._store.schema)
            faults = (await audit_totals(connection)).faults
        return (
            ({"withoutOwner": missing} if missing else {})
            | ({"faults": faults} if faults else {})
            | ({} if self._other is None else self._other.shown)
            | ({} if (others := self._others()) is None else others.shown)
        )

    async def projections(self, request: Request) -> ASGIApp:
        """Answer the position, the lag and the parked events of every view, and the progress of a rebuild; as a stream,
        again whenever they change.
        """
        if event_stream.is_preferred(request):
            return watch.watch(self._hub, request, "projections", self._projections)
        return json(await self._projections(), VARY)

    async def _projections(self) -> dict[str, Any]:
        head, _ = await self._store.head()
        data = [
            {
                "view": each.view,
                "position": each.position,
                "lag": max(0, head - each.position),
                "parked": each.parked,
                **_rebuild(each.rebuilt, head),
            }
            for each in await self._progress.now()
        ]
        return {"position": head, "data": data}

    async def confirm_clock(self, _: Request) -> ASGIApp:
        """Accept the time of day, although it has leapt ahead."""
        leap = self._clock.confirm()
        return json({"time": format_time(self._clock()), "leap": round(leap.total_seconds())})

    async def prometheus(self, __: Request) -> ASGIApp:
        """Answer the metrics in the text format of Prometheus."""
        metrics = LogMetrics()
        head, _ = await self._store.head()
        metrics.set("log_position", head)
        if self._store.log_name:
            metrics.set("log", 1, self._store.log_name)
        metrics.set("commands_waiting", self._bus.waiting)
        for progress in await self._positions.progress():
            metrics.set("view_position", progress.position, progress.view)
            metrics.set("view_parked", progress.parked, progress.view)
        metrics.set("claimers_waiting", len(self._dispatcher))
        if self._standby is not None:
            metrics.set("reads_from_standby", self._standby.usable)
            metrics.set("standby_lag_seconds", self._standby.lag.seconds)
        if (others := self._others()) is not None:
            counted = {"known": others.known, "open": others.open, "away": len(others.away)}
            for state, number in counted.items():
                metrics.set("logs", number, state)
        await set_metrics(metrics, self._store, self._clock(), among=not self._of_process)
        text = metrics.text() + (generate_latest() if self._of_process else b"")
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


def routes(handlers: HealthHandlers) -> tuple[Operation, ...]:
    """The operations of health and metrics."""
    return (*_probes(handlers), *_operator_routes(handlers))


def _probes(handlers: HealthHandlers) -> tuple[Operation, ...]:
    return (
        Operation(
            "health",
            "GET",
            "/healthz",
            Right.OPEN,
            "Whether the process is running",
            handlers.alive,
            answer=STATUS,
        ),
        Operation(
            "readiness",
            "GET",
            "/readyz",
            Right.OPEN,
            "Whether the database answers, and the position of each view",
            handlers.ready,
            answer=STATUS,
            answer_forms=STREAM,
        ),
    )


def _operator_routes(handlers: HealthHandlers) -> tuple[Operation, ...]:
    return (
        Operation(
            "projections",
            "GET",
            "/projections",
            Right.OPERATE,
            "The position of each view, and the progress of each rebuild; with `Accept: text/event-stream`, whenever they change",
            handlers.projections,
            answer=PROJECTIONS,
            answer_forms=STREAM,
        ),
        Operation(
            "confirmClock",
            "POST",
            "/clock/confirm",
            Right.OPERATE,
            "Accept the server's clock, although it has leapt ahead by `leap` seconds",
            handlers.confirm_clock,
            answer=CONFIRMED,
        ),
        Operation(
            "metrics",
            "GET",
            "/metrics",
            Right.OPERATE,
            "Metrics for Prometheus",
            handlers.prometheus,
            media_type="text/plain",
            answer={"type": "string"},
        ),
    )


def _rebuild(rebuilt: int | None, head: int) -> dict[str, Any]:
    if rebuilt is None:
        return {}
    progress = round(100 * min(rebuilt, head) / head, 1) if head else 0
    return {"rebuild": {"position": rebuilt, "progress": progress}}
