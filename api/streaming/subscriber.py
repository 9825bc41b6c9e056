"""One consumer of a stream: a cursor, a topic, a phase, and a transport to write to. A subscriber has no queue."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import structlog

from api.streaming.close_codes import DONE, FAULT, REFUSED, RESTART, SLOW
from api.streaming.log.entry import Chunk
from api.streaming.phase import TRANSITIONS, HubState, Phase, Published
from api.streaming.replay_clock import ReplayClock
from api.streaming.topic import Topic, TopicGroup

log = structlog.get_logger()


class Transport(Protocol):
    """The connection that a subscriber writes to, below the protocol of the server."""

    subscriber: Subscriber | None
    paused: bool
    """Whether the write buffer is full: another write would only make the buffer longer."""

    @property
    def gone(self) -> bool:
        """Whether the client has closed the connection."""
        ...

    def write(self, data: bytes) -> None: ...

    def write_raw(self, data: bytes) -> None:
        """Write by the shortest code path; only after a first `write`, and while the stream has not ended."""
        ...

    def cut(self, code: int, reason: str) -> None:
        """End the connection at once, and discard what the client has not read."""
        ...


class Ending(NamedTuple):
    """How a stream ends. `code` is the close code of WebSocket; None where the client has disconnected."""

    code: int | None
    cursor: int = 0
    reason: str = ""


@dataclass(slots=True, eq=False)
class Subscriber:
    """Receives each event of a topic after a cursor, in order, once.

    While it is live, it has received everything that the feed has published; `cursor` is that of the last write.
    """

    transport: Transport
    group: TopicGroup[Subscriber]
    cursor: int
    published: Published
    shared: HubState
    catch_up: Callable[[Subscriber], Awaitable[None]]
    phase: Phase = Phase.CATCHING_UP
    sent: int = field(init=False)
    """The cursor that was last sent to the client."""
    version: int | None = field(init=False)
    """The version of the topic's stream at the cursor; None where it is unknown."""
    logs: int = field(init=False)
    """How many of the group's writes of log lines this subscriber has received."""
    touched: int = field(init=False)
    """The tick of the heartbeat at the last write."""
    slot: int = 0
    """The slot of the heartbeat that visits this subscriber."""
    caught_up: bool = False
    speed: float | None = None
    """The speed of a replay: 2 halves the gaps between past events. None and 0 leave the gaps out."""
    replay: ReplayClock | None = None
    blocked_since: float | None = None
    done: asyncio.Future[Ending] = field(init=False)
    _task: asyncio.Task[None] | None = None
    _writable: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        self.sent, self.version = self.cursor, None if self.cursor else 0
        self.logs, self.touched = self.group.logs, self.shared.tick
        self.done = asyncio.get_running_loop().create_future()

    @property
    def topic(self) -> Topic:
        return self.group.topic

    @property
    def live(self) -> bool:
        return self.phase is Phase.LIVE

    # --- requests of the client

    def start(self) -> None:
        """Begin to catch up; a task that is catching up already is replaced."""
        self._stop_task()
        if self.phase is Phase.CATCHING_UP:
            self._task = asyncio.create_task(self._run(), name="streaming: catch-up")

    def pause(self) -> None:
        """Send nothing until `resume`, a seek or another speed."""
        self._stop_task()
        self._change_phase("pause")
        if self.replay is not None:
            self.replay.stop()

    def resume(self) -> None:
        """Continue at the cursor after a pause."""
        paused = self.phase is Phase.PAUSED
        self._change_phase("resume")
        if self.replay is not None:
            self.replay.continue_()
        if paused:
            self.start()

    def seek(self, cursor: int) -> None:
        """Continue from another position."""
        self._change_phase("seek")
        self.cursor = self.sent = cursor
        self.version = None if cursor else 0
        self.caught_up = False
        self.play(self.speed)
        self.start()

    def play(self, speed: float | None) -> None:
        """Replay past events at a speed, now and after each `seek`. Live events are never delayed."""
        self.speed = speed
        self.replay = ReplayClock(speed) if speed and not self.live else None
        if self._task is not None:
            self.start()

    # --- changes of the transport

    def block(self) -> None:
        """Stop writing: the transport takes no more for now."""
        self._change_phase("block")
        self.blocked_since = self.blocked_since or self.shared.now

    def unblock(self) -> None:
        """Write again: the transport takes more."""
        self.blocked_since = None
        if self.phase is Phase.BLOCKED:
            self._change_phase("unblock")
            if self._writable is None:
                self.start()
            elif not self._writable.done():
                self._writable.set_result(None)

    async def writable(self) -> None:
        """Yield to the event loop, then wait until the transport takes more."""
        await asyncio.sleep(0)
        while self.transport.paused:
            self.block()
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable
            self._writable = None

    def note_lost(self) -> None:
        """End the stream, as the client has disconnected."""
        self._finish(Ending(None))

    # --- what is sent

    def deliver(self, chunk: Chunk) -> None:
        """Write the frames that follow the cursor, and move the cursor."""
        if chunk.data:
            self.transport.write(chunk.data)
            self.sent = chunk.cursor
            self.touched = self.shared.tick
        self.cursor = chunk.cursor

    def deliver_logs(self, lines: bytes) -> None:
        """Write log lines to a live subscriber. Log lines have no position, so the cursor does not move."""
        if self.transport.paused:
            self.block()
        else:
            self.transport.write(lines)
            self.logs = self.group.logs

    def tell(self, name: str, **fields: object) -> None:
        """Write a frame about the stream. Its id is the cursor, so a client that resumes from it loses no event."""
        self.transport.write(self.topic.encoder.wire.control(name, self.cursor, fields))
        self.sent = self.cursor
        self.touched = self.shared.tick

    def arrive(self) -> None:
        """Become live: everything that was published has been sent, and the hub writes what follows."""
        self._task = None
        self.replay = None
        self._change_phase("arrive")
        self.group.live.add(self)
        self.cursor = max(self.cursor, self.published.head)
        if self.logs != self.group.logs:
            self.logs = self.group.logs
            self.tell_fell_behind()
        if not self.caught_up:
            self.caught_up = True
            if self.cursor > self.sent:
                self.tell("checkpoint")
            self.tell("caught-up", **self.shared.about)
        self.conclude()

    def tell_fell_behind(self) -> None:
        """Send `fell-behind`, once until the subscriber has caught up: what it has missed is not in memory, or it is a stream
        of one execution, which always reads missed events from the database.
        """
        if self.caught_up:
            self.caught_up = False
            self.tell("fell-behind")

    def return_to_catch_up(self) -> None:
        """Catch up again, as a live subscriber has missed something."""
        if self.live:
            self._change_phase("fall-behind")
            self.start()

    # --- the end

    def conclude(self) -> None:
        """End the stream of one execution where the execution has ended before the cursor."""
        if self.group.has_ended(self.cursor):
            self.end(DONE)

    def end(self, code: int, reason: str = "") -> None:
        """Send the last frames, if the transport takes them; the handler of the request closes the connection."""
        if self.done.done():
            return
        self._change_phase("end")
        try:
            self._write_last_frames(code, reason)
        except Exception:
            log.exception("the last frames of a stream could not be written", cursor=self.cursor)
            self.fail()
        else:
            self._finish(Ending(code, self.cursor, reason))

    def _write_last_frames(self, code: int, reason: str) -> None:
        if code == DONE and self.cursor > self.sent:
            self.tell("checkpoint")  # else a client that reconnects would receive the end again
        if code == RESTART:  # spreads the reconnects, and needs no secure random number
            fields = {"reason": reason} if reason else {}
            self.tell("closing", retry=random.randint(500, 5000), **fields)  # noqa: S311
        elif reason:
            self.tell("closing", reason=reason)

    def refuse(self, reason: str) -> None:
        """End the stream because the client sent something invalid."""
        self._change_phase("end")
        self._finish(Ending(REFUSED, self.cursor, reason))

    def fail(self) -> None:
        """End the stream because of a fault of the server. A client that reconnects loses no event."""
        self.cut(FAULT)

    def cut(self, code: int = SLOW) -> None:
        """End the stream at once, as the client does not read."""
        self._change_phase("end")
        with suppress(Exception):  # the transport may be at fault
            self.transport.cut(code, position_text(self.cursor))
        self._finish(Ending(None))

    def _finish(self, ending: Ending) -> None:
        self._change_phase("end")
        self._stop_task()
        if not self.done.done():
            self.done.set_result(ending)

    def _change_phase(self, trigger: str) -> None:
        before, after = self.phase, TRANSITIONS[trigger][self.phase]
        if after is None:
            raise RuntimeError(f"`{trigger}` is not allowed while a subscriber is {before}")
        self.phase = after
        if before is Phase.LIVE and after is not Phase.LIVE:
            self.group.live.discard(self)
            self.cursor = max(self.cursor, self.published.swept)

    def _stop_task(self) -> None:
        task, self._task, self._writable = self._task, None, None
        if task is not None:
            task.cancel()

    async def _run(self) -> None:
        try:
            await self.catch_up(self)
        except Exception:
            log.exception("a subscriber cannot catch up", cursor=self.cursor)
            self.fail()


def position_text(cursor: int) -> str:
    """The reason of a WebSocket's close that names the cursor."""
    return f"position {cursor}"
