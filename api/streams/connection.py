"""One consumer: a cursor, a topic, and a line to write to. It holds no queue."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from api.streams.entries import Chunk
from api.streams.groups import Group
from api.streams.pace import Pace
from api.streams.readers import Later, Pending, Reader, StreamReader

if TYPE_CHECKING:
    from api.streams.hub import Hub

LONGEST_NAP = 1.0

log = structlog.get_logger()


class Line(Protocol):
    """What a connection writes to: the transport below the server's protocol."""

    consumer: Connection | None
    paused: bool
    """Whether the transport's buffer is full: what is written now only makes it longer."""

    @property
    def gone(self) -> bool:
        """Whether the client has left already."""
        ...

    def write(self, data: bytes) -> None: ...

    def feed(self, data: bytes) -> None:
        """`write` in the shortest way, to a line that was written to before and has not ended."""
        ...

    def cut(self, code: int, reason: str) -> None:
        """End it at once, whatever is still unread."""
        ...


class Ending(NamedTuple):
    """How a stream ends. `code` is the WebSocket's; None where the client has gone."""

    code: int | None
    cursor: int = 0
    reason: str = ""


DONE, REFUSED, FAULT, RESTART, SLOW = 1000, 1008, 1011, 1012, 1013


class Connection:
    """Either live, when the hub writes to it, or behind, when it fetches for itself until it is not.

    While it is live its cursor is the hub's, and its own only says what was last written to it.
    """

    __slots__ = (
        "_reader",
        "_scheduled",
        "_timer",
        "blocked",
        "caught_up",
        "cursor",
        "done",
        "floor",
        "group",
        "hub",
        "line",
        "live",
        "logs",
        "over",
        "pace",
        "paused",
        "sent",
        "slot",
        "speed",
        "touched",
    )

    def __init__(self, hub: Hub, line: Line, group: Group, reader: Reader, cursor: int) -> None:
        self.hub = hub
        self.line = line
        self.group = group
        self.cursor = cursor
        self.sent = cursor
        self.logs = group.logs
        """How far it knows the log lines of its group."""
        self.floor = 0
        """The story may end no earlier than here."""
        self.over = False
        self.live = False
        self.caught_up = False
        self.paused = False
        """Whether the client asked to wait."""
        self.speed: float | None = None
        """How much faster than it was the past goes by; None and 0 are as fast as can be."""
        self.pace: Pace | None = None
        """That of a replay, until it has arrived."""
        self.blocked: float | None = None
        """Since when the line takes no more."""
        self.touched = 0
        self.slot = 0
        """Where the wheel has it."""
        self.done: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._reader = reader
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, logs: bytes) -> None:
        """Write log lines to a connection that is live. They have no position: its cursor stays."""
        if self.line.paused:
            self.block()
            return
        self.line.write(logs)
        self.logs = self.group.logs

    def conclude(self, cursor: int, over: bool | None) -> None:
        """It is live and has been handed everything up to a cursor: its story may have ended there."""
        self.cursor = max(self.cursor, cursor)
        self.over = self.over if over is None else over
        if self.over and self.cursor >= self.floor:
            self.end(DONE)

    def block(self) -> None:
        """Its line takes no more for now."""
        self.fall()
        self.blocked = self.hub.wheel.now

    def fall(self) -> None:
        """Live no more: from here on it fetches for itself."""
        if self.live:
            self.live = False
            self.group.live.discard(self)
            self.cursor = max(self.cursor, self.hub.swept)

    def pump(self) -> None:
        """Send what is there, one chunk at a time, until it has arrived or must wait."""
        self._scheduled = False
        try:
            self._pump()
        except Exception:
            log.exception("what follows cannot be sent", cursor=self.cursor)
            self.fail()

    def _pump(self) -> None:
        if self.live or self.paused or self.done.done():
            return
        if self.line.paused:
            self.blocked = self.blocked or self.hub.wheel.now
            return
        self.blocked = None
        if self.hub.closing:
            self.end(RESTART)
            return
        until = self.pace.until() if self.pace else None
        step = self._reader.next(self.cursor, self.schedule, until)
        if isinstance(step, Chunk):
            self._advance(step)
        elif isinstance(step, Later):
            self._nap(step)
        elif step is Pending.ARRIVED:
            self._arrive()
        else:
            self._admit()

    def schedule(self) -> None:
        """Pump soon."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.pump)

    def resumed(self) -> None:
        """The line takes more again."""
        self.blocked = None
        if not self.live:
            self.schedule()

    def lost(self) -> None:
        """The client has gone."""
        self.fall()
        self._finish(Ending(None))

    def fail(self) -> None:
        """End it because of a fault here. Its client may come back, and lose nothing."""
        self.fall()
        with suppress(Exception):  # the line may be at fault
            self.line.cut(FAULT, place(self.cursor))
        self._finish(Ending(None))

    def end(self, code: int) -> None:
        """Say goodbye; whoever serves the request does the rest."""
        self.fall()
        if code == DONE and self.cursor > self.sent:
            self.tell("checkpoint")  # else a reconnect would begin before the end, to hear it again
        if code == RESTART:
            # Spreads the reconnects; keeps no secret.
            self.tell("closing", retry=random.randint(500, 5000))  # noqa: S311
        self._finish(Ending(code, self.cursor))

    def refuse(self, reason: str) -> None:
        """End it because of what the client said."""
        self.fall()
        self._finish(Ending(REFUSED, self.cursor, reason))

    def cut(self) -> None:
        """End it although the client does not read."""
        self.fall()
        self.line.cut(SLOW, place(self.cursor))
        self._finish(Ending(None))

    def seek(self, cursor: int) -> None:
        """Go on from another position."""
        self.fall()
        self.cursor = self.sent = cursor
        self.caught_up = False
        self._reader.seek(cursor)
        self.play(self.speed)
        self.go()

    def play(self, speed: float | None) -> None:
        """Replay the past at a speed, now and after each `seek`. What is live waits for nothing."""
        self.speed = speed
        self.pace = Pace(speed) if speed and not self.live else None

    def go(self) -> None:
        """Go on, after a pause from where it was."""
        if self._timer is not None:
            self._timer.cancel()
        if self.pace is not None:
            self.pace.release()
        self.paused = False
        self.schedule()

    def wait(self) -> None:
        """Send nothing until told to go on."""
        self.fall()
        self.paused = True
        if self.pace is not None:
            self.pace.hold()

    def tell(self, name: str, **more: object) -> None:
        """A frame of our own; its id is a real position, so that a resume from it loses nothing."""
        self.line.write(self.group.topic.form.wire.control(name, self.cursor, more))
        self.sent = self.cursor
        self.touched = self.hub.wheel.tick

    def _admit(self) -> None:
        """Tell once that it has fallen behind."""
        if self.caught_up:
            self.caught_up = False
            self.tell("fell-behind")

    def _advance(self, chunk: Chunk) -> None:
        if chunk.data:
            self.line.write(chunk.data)
            self.sent = chunk.cursor
            self.touched = self.hub.wheel.tick
        self.cursor = chunk.cursor
        self.schedule()

    def _nap(self, later: Later) -> None:
        assert self.pace is not None
        seconds = min(self.pace.wait(later.at), LONGEST_NAP)
        self._timer = asyncio.get_running_loop().call_later(seconds, self.schedule)

    def _arrive(self) -> None:
        self.pace = None
        self.live = True
        self.group.live.add(self)
        if self.logs != self.group.logs:
            self.logs = self.group.logs
            self._admit()
        if not self.caught_up:
            self.caught_up = True
            if self.cursor > self.sent:
                self.tell("checkpoint")
            self.tell("caught-up")
        if isinstance(self._reader, StreamReader) and self._reader.over is not None:
            self.over, self._reader.over = self._reader.over, None
        if self.over and max(self.cursor, self.hub.window.head) >= self.floor:
            self.end(DONE)

    def _finish(self, ending: Ending) -> None:
        if not self.done.done():
            self.done.set_result(ending)


def place(cursor: int) -> str:
    """A cursor, as the reason of a close."""
    return f"position {cursor}"
