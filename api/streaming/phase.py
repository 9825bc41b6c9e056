"""The phases of a subscriber, and the state that subscribers share."""

from __future__ import annotations

from enum import StrEnum
from time import monotonic

from api.streaming.close_codes import RESTART


class Phase(StrEnum):
    """What a subscriber is doing."""

    CATCHING_UP = "catching-up"
    """A task of the subscriber reads the events after its cursor, and sends them."""
    LIVE = "live"
    """The subscriber has received everything that was published; the hub writes what follows. No task is running."""
    BLOCKED = "blocked"
    """The transport takes nothing for now."""
    PAUSED = "paused"
    """The client has paused the stream."""
    ENDED = "ended"


TABLE = """
             catching-up  live         blocked      paused       ended
arrive       live         .            .            .            .
fall-behind  =            catching-up  =            =            =
block        blocked      blocked      =            =            =
unblock      =            =            catching-up  =            =
pause        paused       paused       paused       =            =
resume       =            =            =            catching-up  =
seek         catching-up  catching-up  catching-up  catching-up  =
end          ended        ended        ended        ended        =
"""
"""The phase that follows each trigger (row) in each phase (column). `=` is the same phase, `.` is not allowed."""


def _parse_transitions(table: str) -> dict[str, dict[Phase, Phase | None]]:
    heading, *rows = (line.split() for line in table.strip().splitlines())
    phases = [Phase(phase) for phase in heading]
    return {
        name: {
            phase: phase if cell == "=" else None if cell == "." else Phase(cell)
            for phase, cell in zip(phases, cells, strict=True)
        }
        for name, *cells in rows
    }


TRANSITIONS = _parse_transitions(TABLE)


class Published:
    """How far a feed has published the log; shared with the subscribers of the feed."""

    __slots__ = ("head", "swept")

    def __init__(self) -> None:
        self.head = 0
        """The position of the last entry that was published."""
        self.swept = 0
        """The position up to which all live subscribers have received everything."""


class HubState:
    """What all subscribers of a hub share."""

    __slots__ = ("about", "closing", "closing_code", "closing_reason", "now", "tick")

    def __init__(self, about: dict[str, str] | None = None) -> None:
        self.tick = 0
        """The number of ticks of the heartbeat so far."""
        self.now = monotonic()
        """The monotonic time of the last tick, in seconds."""
        self.closing = False
        """Whether the streams are being ended: the server stops, or the log has become another."""
        self.closing_code = RESTART
        """The close code of streams that end while the hub is closing."""
        self.closing_reason = ""
        """The reason in their last frame `closing`; empty if the server stops."""
        self.about = about or {}
        """Fields about the log, for the frame `caught-up`."""
