"""One consumer: a cursor, a topic, a phase, and a transport to write to. It has no queue."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import structlog

from api.streaming.log.entry import Chunk
from api.streaming.phase import TRANSITIONS, HubState, Phase, Published
from api.streaming.replay_clock import ReplayClock
from api.streaming.topic import Topic, TopicGroup

log = structlog.get_logger()


class Transport(Protocol):
    """What a subscriber writes to: the connection below the server's protocol."""

    subscriber: Subscriber | None
    paused: bool
    """Whether its buffer is full: what is written now only makes it longer."""

    @property
    def gone(self) -> bool:
        """Whether the client has left already."""
        ...

    def write(self, data: bytes) -> None: ...

    def write_raw(self, data: bytes) -> None:
        """`write` in the shortest way, to one that was written to before and has not ended."""
        ...

    def cut(self, code: int, reason: str) -> None:
        """End it at once, whatever is still unread."""
        ...


class Ending(NamedTuple):
    """How a stream ends. `code` is the WebSocket's; None where the client has gone."""

    code: int | None
    cursor: int = 0
    reason: str = ""


DONE, REFUSED, FAULT, RESTART, SLOW, LOCKED_OUT = 1000, 1008, 1011, 1012, 1013, 4401


@dataclass(slots=True, eq=False)
class Subscriber:
    """Receives each event of its topic after its cursor, in order, once.

    While it is live its cursor is the feed's, and its own only says what was last written to it.
    """

    transport: Transport
    group: TopicGroup[Subscriber]
    cursor: int
    published: Published
    shared: HubState
    catch_up: Callable[[Subscriber], Awaitable[None]]
    phase: Phase = Phase.CATCHING_UP
    sent: int = field(init=False)
    """The cursor that its client knows."""
    version: int | None = field(init=False)
    """That of its stream at the cursor, where that is known."""
    logs: int = field(init=False)
    """How many of its group's writes of log lines it has got."""
    touched: int = field(init=False)
    """The tick of the last write."""
    slot: int = 0
    """Where the heartbeat has it."""
    caught_up: bool = False
    speed: float | None = None
    """How much faster the past goes by; None and 0 are as fast as can be."""
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

    # --- what the client asks for

    def start(self) -> None:
        """Catch up, anew if it did already."""
        self._stop_task()
        if self.phase is Phase.CATCHING_UP:
            self._task = asyncio.create_task(self._run(), name="streaming: catch-up")

    def pause(self) -> None:
        """Send nothing until `resume`, a seek or another speed."""
        self._stop_task()
        self._move("pause")
        if self.replay is not None:
            self.replay.stop()

    def resume(self) -> None:
        """Go on after a pause, where it was."""
        paused = self.phase is Phase.PAUSED
        self._move("resume")
        if self.replay is not None:
            self.replay.go_on()
        if paused:
            self.start()

    def seek(self, cursor: int) -> None:
        """Go on from another position."""
        self._move("seek")
        self.cursor = self.sent = cursor
        self.version = None if cursor else 0
        self.caught_up = False
        self.play(self.speed)
        self.start()

    def play(self, speed: float | None) -> None:
        """Replay the past at a speed, now and after each `seek`. What is live waits for nothing."""
        self.speed = speed
        self.replay = ReplayClock(speed) if speed and not self.live else None
        if self._task is not None:
            self.start()

    # --- what becomes of its transport

    def block(self) -> None:
        """The transport takes no more for now."""
        self._move("block")
        self.blocked_since = self.blocked_since or self.shared.now

    def unblock(self) -> None:
        """The transport takes more again."""
        self.blocked_since = None
        if self.phase is Phase.BLOCKED:
            self._move("unblock")
            if self._writable is None:
                self.start()
            elif not self._writable.done():
                self._writable.set_result(None)

    async def writable(self) -> None:
        """Let others run, and wait until the transport takes more."""
        await asyncio.sleep(0)
        while self.transport.paused:
            self.block()
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable
            self._writable = None

    def note_lost(self) -> None:
        """The client has gone."""
        self._finish(Ending(None))

    # --- what it is sent

    def deliver(self, chunk: Chunk) -> None:
        """Write what follows its cursor."""
        if chunk.data:
            self.transport.write(chunk.data)
            self.sent = chunk.cursor
            self.touched = self.shared.tick
        self.cursor = chunk.cursor

    def deliver_logs(self, lines: bytes) -> None:
        """Write log lines to one that is live. They have no position, so its cursor stays."""
        if self.transport.paused:
            self.block()
        else:
            self.transport.write(lines)
            self.logs = self.group.logs

    def tell(self, name: str, **more: object) -> None:
        """Write a frame about the stream; a resume from its id, a real position, loses nothing."""
        self.transport.write(self.topic.encoder.wire.control(name, self.cursor, more))
        self.sent = self.cursor
        self.touched = self.shared.tick

    def arrive(self) -> None:
        """It has got everything that was published: from now on the hub writes to it."""
        self._task = None
        self.replay = None
        self._move("arrive")
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
        """Tell once that it has fallen behind what is in memory."""
        if self.caught_up:
            self.caught_up = False
            self.tell("fell-behind")

    def return_to_catch_up(self) -> None:
        """It missed something while it was live: catch up again."""
        if self.live:
            self._move("fall-behind")
            self.start()

    # --- how it ends

    def conclude(self) -> None:
        """End it if it is about one execution, which has ended before its cursor."""
        if self.group.has_ended(self.cursor):
            self.end(DONE)

    def end(self, code: int, reason: str = "") -> None:
        """Say goodbye, if that can be written; the handler of the request does the rest."""
        if self.done.done():
            return
        self._move("end")
        try:
            self._say_goodbye(code, reason)
        except Exception:
            log.exception("goodbye could not be written to a stream", cursor=self.cursor)
            self.fail()
        else:
            self._finish(Ending(code, self.cursor, reason))

    def _say_goodbye(self, code: int, reason: str) -> None:
        if code == DONE and self.cursor > self.sent:
            self.tell("checkpoint")  # else a reconnect would begin before the end, to get it again
        if code == RESTART:  # spreads the reconnects; keeps no secret
            more = {"reason": reason} if reason else {}
            self.tell("closing", retry=random.randint(500, 5000), **more)  # noqa: S311
        elif reason:
            self.tell("closing", reason=reason)

    def refuse(self, reason: str) -> None:
        """End it because of what the client sent."""
        self._move("end")
        self._finish(Ending(REFUSED, self.cursor, reason))

    def fail(self) -> None:
        """End it because of a fault here. Its client may come back, and loses nothing."""
        self.cut(FAULT)

    def cut(self, code: int = SLOW) -> None:
        """End it at once: its client does not read."""
        self._move("end")
        with suppress(Exception):  # the transport may be at fault
            self.transport.cut(code, position_text(self.cursor))
        self._finish(Ending(None))

    def _finish(self, ending: Ending) -> None:
        self._move("end")
        self._stop_task()
        if not self.done.done():
            self.done.set_result(ending)

    def _move(self, what: str) -> None:
        before, after = self.phase, TRANSITIONS[what][self.phase]
        if after is None:
            raise RuntimeError(f"`{what}` cannot be while a subscriber is {before}")
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
            log.exception("what follows cannot be sent", cursor=self.cursor)
            self.fail()


def position_text(cursor: int) -> str:
    """A cursor, as the reason of a close."""
    return f"position {cursor}"
