"""Where a stream stands: what came, what was handled, and with what to come back."""

from __future__ import annotations

import logging
import random

import httpx2

from service_executions.cursors import Cursor, Place

LOG = logging.getLogger("service_executions")
SILENCE = 45.0
"""Seconds without even a heartbeat, after which the connection is taken for lost."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
PASSING = frozenset({408, 429, 500, 502, 503, 504})
OF_STREAM = frozenset({"checkpoint", "caught-up", "fell-behind", "closing"})
"""Frames about the stream itself."""


class Resumption:
    """The place of one stream. Each frame is let through once, however often the connection is lost."""

    def __init__(self, start: str | None, cursor: Cursor | None) -> None:
        self.caught_up = False
        """Whether the past is done, and what comes happens now."""
        self.goodbye: float | None = None
        """Seconds after which a service that ends asks to be tried again."""
        self._start = start
        self._cursor = cursor
        kept = cursor.load() if cursor else None
        self._log = kept.log if kept else None
        self._handled: str = str(kept.position) if kept else ""
        self._done = kept.position if kept else 0
        self._open = 0
        """The position of an event some of whose frames came."""
        self._came = self._passed = 0
        """How many of these came over this connection, and were let through over all."""
        self._failures = 0

    def query(self) -> dict[str, str]:
        """The parameters of the next connection."""
        start = {} if self._handled or self._start is None else {"from": self._start}
        return {**start, **({"log": self._log} if self._log else {})}

    def headers(self) -> dict[str, str]:
        """The headers of the next connection: a service that has nothing more says so to those who resume."""
        return {"Last-Event-ID": self._handled} if self._handled else {}

    def opened(self, headers: httpx2.Headers) -> None:
        """Take what the answer says that opens a connection."""
        self._came = 0
        self.goodbye = None
        self._log = self._log or headers.get("log-id")
        if not self._handled and self._start == "now":
            self._handled = headers.get("log-position", "")

    def pause(self, reason: str | None) -> float:
        """Seconds to wait after a connection that was lost for a reason, or has ended as it should."""
        if reason is None:
            return SHORTEST_PAUSE * random.random()  # noqa: S311 - no secret
        if self.goodbye is not None:
            wait, self.goodbye = self.goodbye, None
        else:
            longest = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2**self._failures)
            wait = longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
            self._failures = min(self._failures + 1, 10)
        LOG.warning("%s; trying again in %.1f s", reason, wait)
        return wait

    def farewell(self, url: str) -> str | None:
        """Why a connection has ended without a fault: the service is going away; None where it may end."""
        return None if self.goodbye is None else f"{url} is going away"

    def about_stream(self, sent: httpx2.ServerSentEvent) -> None:
        """Take a frame about the stream itself."""
        self._failures = 0
        if sent.event == "closing":
            self.goodbye = (sent.retry or 1_000) / 1_000
        elif sent.event in {"caught-up", "fell-behind"}:
            self.caught_up = sent.event == "caught-up"
        if sent.id:
            self.handled(sent.id)

    def is_new(self, position: int) -> bool:
        """Whether a frame of the event at a position has not been let through before. 0 is no event's."""
        self._failures = 0
        if not position:
            return True
        if position <= self._done:
            return False
        if position != self._open:
            self._open, self._came, self._passed = position, 0, 0
        self._came += 1
        if self._came <= self._passed:
            return False
        self._passed += 1
        return True

    def handled(self, id_: str) -> None:
        """What came up to here is done with: a later connection, or process, begins behind it."""
        if not id_ or id_ == self._handled:
            return
        self._handled = id_
        if id_.isdecimal():
            self._done = int(id_)
            if self._cursor is not None:
                self._cursor.save(Place(self._done, self._log))
