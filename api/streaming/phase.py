"""The phases of a subscriber, and what it shares with others."""

from __future__ import annotations

from enum import StrEnum
from time import monotonic


class Phase(StrEnum):
    """What a subscriber is doing."""

    CATCHING_UP = "catching-up"
    """Its own task reads what follows its cursor."""
    LIVE = "live"
    """It has got everything that was published, and gets what comes from the hub. No task."""
    BLOCKED = "blocked"
    """Its transport takes nothing for now."""
    PAUSED = "paused"
    """Its client asked to wait."""
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
"""What happens in which phase, and the phase afterwards. `=` changes nothing, `.` cannot be."""


def _read(table: str) -> dict[str, dict[Phase, Phase | None]]:
    heading, *rows = (line.split() for line in table.strip().splitlines())
    phases = [Phase(phase) for phase in heading]
    return {
        name: {
            phase: phase if cell == "=" else None if cell == "." else Phase(cell)
            for phase, cell in zip(phases, cells, strict=True)
        }
        for name, *cells in rows
    }


TRANSITIONS = _read(TABLE)


class Published:
    """How far a feed is; shared with its subscribers."""

    __slots__ = ("head", "swept")

    def __init__(self) -> None:
        self.head = 0
        """The position of the last entry that was published."""
        self.swept = 0
        """All who are live have got everything up to here."""


class HubState:
    """What all subscribers of a hub share."""

    __slots__ = ("about", "closing", "now", "tick")

    def __init__(self, about: dict[str, str] | None = None) -> None:
        self.tick = 0
        """How often the heartbeat has ticked."""
        self.now = monotonic()
        """The time of the last tick, in seconds."""
        self.closing = False
        """Whether the server ends."""
        self.about = about or {}
        """Of the log, for each who has caught up."""
