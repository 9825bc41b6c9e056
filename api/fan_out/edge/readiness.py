"""Decides whether an edge can send streams: NATS is available, a relay publishes, the edge keeps up, and the server
answers.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from api.fan_out.edge.link import NATS_AWAY, NO_RELAY, Link
from api.fan_out.edge.origin import AWAY, OriginServer
from api.fan_out.edge.tail import RelayedTail
from api.streaming.hub import Hub
from api.telemetry.metrics import EDGE_LAG
from domain.errors import Overloaded
from domain.supervisor import Background, Tasks

POLL_INTERVAL = 0.5
BEHIND_FOR = 5.0
"""Seconds that the edge may be behind the relay."""
CLOSING = "This edge ends."
OTHER_LOG = (
    "The log is another one by now, and no relay publishes that yet. Come back a little later."
)
BEHIND = "This edge is behind the log. Come back a little later."


class Readiness(Background):
    """The readiness of an edge, which is checked every `LOOK` seconds."""

    def __init__(
        self, hub: Hub, link: Link, tail: RelayedTail, origin: OriginServer, log_name: str | None
    ) -> None:
        self._hub = hub
        self._link = link
        self._tail = tail
        self._origin = origin
        self._named = {"log": log_name} if log_name else {}
        self._level_at = monotonic()

    def tasks(self) -> Tasks:
        return {"readiness": self._measure_lag}

    @property
    def lag(self) -> int:
        """The number of events that the relay has published and that this edge has not read yet."""
        beat = self._link.beat
        return 0 if beat is None else max(0, beat.position - self._tail.position)

    def require(self) -> None:
        """Raises Overloaded where no stream can be sent now."""
        if (detail := self._missing()) is not None:
            raise Overloaded(detail)

    def document(self) -> dict[str, Any]:
        """The answer of `/readyz`."""
        about = {**self._named, "position": self._tail.position, "lag": self.lag}
        detail = self._missing() or (None if self._origin.answers else AWAY)
        if detail is None:
            return {"status": "ready", **about}
        return {"status": "unavailable", "detail": detail, **about}

    def _missing(self) -> str | None:
        if self._hub.state.closing:
            return CLOSING if self._hub.other is None else OTHER_LOG
        if not self._link.connected:
            return NATS_AWAY
        if not self._link.hears_relay or not self._tail.began:
            return NO_RELAY
        return BEHIND if monotonic() - self._level_at > BEHIND_FOR else None

    async def _measure_lag(self) -> None:
        while True:
            lag = self.lag
            EDGE_LAG.set(lag)
            if lag == 0:
                self._level_at = monotonic()
            await asyncio.sleep(POLL_INTERVAL)
