"""The progress of a stream: which frames were received and handled, and from where it reconnects."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass

import httpx2
from pydantic_core import from_json

from service_executions.cursors import Cursor, Place

LOG = logging.getLogger("service_executions")
SILENCE = 45.0
"""Seconds without a byte, not even a heartbeat, after which the connection counts as lost."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
"""Seconds before a reconnection: after the first failure, and at most."""
PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses of temporary failures, after which a stream reconnects."""
OF_STREAM = frozenset({"checkpoint", "caught-up", "fell-behind", "closing", "away", "back"})
"""The types of frames about the stream itself."""


@dataclass
class LastEvent:
    """The last event of a log of which frames were received."""

    position: int = 0
    came: int = 0
    """The number of its frames that were received over the present connection."""
    passed: int = 0
    """The number of its frames that were delivered, over all connections."""


class Resumption:
    """The progress of one stream over all its connections. Each frame is delivered once."""

    def __init__(self, start: str | None, cursor: Cursor | None, *, several: bool = False) -> None:
        self.caught_up = False
        """Whether all past frames have been received."""
        self.goodbye: float | None = None
        """Seconds after which a stopping service asks clients to reconnect."""
        self.away: set[str] = set()
        """The names of the unavailable logs, of a stream of several."""
        self._several = several
        """Whether the stream is of several logs: then only the cursor of the service has the positions."""
        self._start = start
        self._cursor = cursor
        kept = cursor.load() if cursor else None
        self._log = kept.log if kept else None
        self._handled: str = (kept.cursor or str(kept.position)) if kept else ""
        self._done = kept.position if kept else 0
        self._events: dict[str, LastEvent] = {}
        """The last events by the name of the log; the name is empty for a single log."""
        self._failures = 0

    def query(self) -> dict[str, str]:
        """Return the query parameters of the next connection."""
        start = {} if self._handled or self._start is None else {"from": self._start}
        return {**start, **({"log": self._log} if self._log else {})}

    def headers(self) -> dict[str, str]:
        """Return the headers of the next connection. A service without further frames answers a resumption with 204."""
        return {"Last-Event-ID": self._handled} if self._handled else {}

    def note_opened(self, headers: httpx2.Headers) -> None:
        """Note the headers of the answer that opens a connection."""
        for event in self._events.values():
            event.came = 0
        self.away.clear()
        self.goodbye = None
        if self._several:
            return
        self._log = self._log or headers.get("log-id")
        if not self._handled and self._start == "now":
            self._handled = headers.get("log-position", "")

    def pause(self, reason: str | None) -> float:
        """Return the seconds to wait before the next connection; `reason` is None if the last one ended normally."""
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
        """Return the reason if the service has announced that it is stopping; else None: the connection ended normally."""
        return None if self.goodbye is None else f"{url} is going away"

    def about_stream(self, sent: httpx2.ServerSentEvent) -> None:
        """Handle a frame about the stream itself."""
        self._failures = 0
        if sent.event == "closing":
            self.goodbye = (sent.retry or 1_000) / 1_000
        elif sent.event in {"caught-up", "fell-behind", "away"}:
            self.caught_up = sent.event == "caught-up"
        if sent.event in {"away", "back"}:
            self._note_log(sent.event, from_json(sent.data))
        if sent.id:
            self.note_handled(sent.id)

    def _note_log(self, event: str, about: dict[str, str]) -> None:
        if event == "away":
            self.away.add(about["cell"])
            LOG.warning("the log %s is away: %s", about["cell"], about["reason"])
        else:
            self.away.discard(about["cell"])

    def is_new(self, position: int, cell: str = "") -> bool:
        """Whether a frame of the event at a position was not delivered before; `cell` is the name of the log, if the stream
        is of several. A frame with position 0 belongs to no event and is always new.
        """
        self._failures = 0
        if not position:
            return True
        event = self._events.setdefault(cell, LastEvent())
        if position <= self._done or position < event.position:
            return False
        if position != event.position:
            event = self._events[cell] = LastEvent(position)
        event.came += 1
        if event.came <= event.passed:
            return False
        event.passed += 1
        return True

    def note_handled(self, id_: str) -> None:
        """Note that all frames up to this id were handled: the next connection, or process, begins after it."""
        if not id_ or id_ == self._handled:
            return
        self._handled = id_
        if id_.isdecimal():
            self._done = int(id_)
        elif not self._several:
            return
        if self._cursor is not None:
            self._cursor.save(Place(self._done, self._log, id_ if self._several else ""))
