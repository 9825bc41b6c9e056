"""The writer: many commands, one commit, an answer for each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog

from domain.batch import Batch, Decided, Message, NotLoaded, Repeat, States, wanted
from domain.errors import DomainError, Overloaded
from domain.kernel import Held
from domain.store import Store
from domain.transaction import Transaction

BATCH = 500
QUEUE = 10_000
CACHED_STATES = 4_096
REPLIES_KEPT = timedelta(hours=24)
CLEANING = timedelta(hours=1)

log = structlog.get_logger()
Clock = Callable[[], datetime]


class Answer(NamedTuple):
    """What a command led to: the state it left, and whether an earlier answer was repeated."""

    held: Held[Any]
    created: bool = False
    replayed: bool = False


class Waiting(NamedTuple):
    """A message and the caller who waits for its answer."""

    message: Message
    future: asyncio.Future[Answer]


class Bus:
    """Takes commands, decides them in batches under the lock of the log, and answers each.

    One refusal spoils no neighbour's answer. A batch that cannot be committed refuses all of its
    commands and leaves nothing behind. The states of the last few thousand streams are kept; they
    are trusted while no other process has written, else brought up to date in one query.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[str], str],
        random: Callable[[], float],
        limit: int = QUEUE,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._random = random
        self._limit = limit
        self._queue: deque[Waiting] = deque()
        self._wake = asyncio.Event()
        self._states: OrderedDict[str, Held[Any]] = OrderedDict()
        # Those of the states that are as new as `_seen`: when another process has written, a batch
        # brings only its own streams up to date, and the rest stay behind until they are wanted.
        self._current: set[str] = set()
        self._seen = -1
        self._cleaned = clock()
        self._task: asyncio.Task[None] | None = None
        self._stopping = True

    @property
    def waiting(self) -> int:
        """How many commands wait for the next batch."""
        return len(self._queue)

    def start(self) -> None:
        """Begin to write; needs a running event loop."""
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name="writer")

    async def stop(self) -> None:
        """Take no more, write what waits, and end."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def send(self, message: Message) -> Answer:
        """Record what a command leads to.

        Raises:
            DomainError: the command was refused; nothing was recorded.
            Overloaded: too many commands wait, or the database is away.
        """
        return await self.submit(message)

    def submit(self, message: Message) -> asyncio.Future[Answer]:
        """`send` for a caller with many commands: they keep their order."""
        self.require_room(1)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append(Waiting(message, future))
        self._wake.set()
        return future

    def require_room(self, commands: int) -> None:
        """Raises Overloaded where so many more cannot wait."""
        if self._stopping or len(self._queue) + commands > self._limit:
            raise Overloaded

    async def _run(self) -> None:
        while self._queue or not self._stopping:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            taken = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH))]
            try:
                await self._write(taken)
            except Exception as error:  # noqa: BLE001 - whatever it is, every caller is answered
                self._forget(error, len(taken))
                for waiting in taken:
                    _refuse(waiting, error)

    async def _write(self, taken: list[Waiting]) -> None:
        async with self._store.transaction() as transaction:
            batch = await self._prepare(transaction, taken)
            decided = self._decide(batch, taken)
            if batch.rows or batch.new_replies:
                await transaction.append(
                    batch.rows, batch.snapshots(), batch.new_replies, batch.now
                )
            self._store.keyring.settle(kept=True)
        self._seen = batch.position
        self._remember(batch.states)
        for waiting, outcome in decided:
            if isinstance(outcome, Decided):
                _answer(waiting, Answer(*outcome))
            elif isinstance(outcome, Repeat):
                await self._repeat(waiting, outcome)
            else:
                _refuse(waiting, outcome)
        await self._clean(batch.now)

    async def _prepare(self, transaction: Transaction, taken: list[Waiting]) -> Batch:
        now = max(self._clock(), transaction.at)
        keys = [w.message.idempotency.key for w in taken if w.message.idempotency]
        replies = await transaction.replies(keys, now - REPLIES_KEPT) if keys else {}
        if transaction.position != self._seen:
            self._current.clear()
            self._store.keyring.forget_absent()
        states: States = {}
        while missing := self._missing(taken, states):
            known = {stream: self._states.get(stream) for stream in missing}
            stale = {s: held for s, held in known.items() if s not in self._current}
            if stale:
                known.update(dict.fromkeys(stale) | await transaction.load(stale))
            states.update(known)
        return Batch(
            transaction.position,
            now,
            states,
            replies,
            self._store.codec,
            self._store.keyring,
            self._new_id,
            self._random,
        )

    def _missing(self, taken: list[Waiting], states: States) -> dict[str, None]:
        return {
            stream: None
            for waiting in taken
            for stream in wanted(waiting.message, states)
            if stream not in states
        }

    def _decide(
        self, batch: Batch, taken: list[Waiting]
    ) -> list[tuple[Waiting, Decided | Repeat | Exception]]:
        decided: list[tuple[Waiting, Decided | Repeat | Exception]] = []
        for place, waiting in enumerate(taken):
            try:
                decided.append((waiting, batch.take(waiting.message)))
            except DomainError as error:
                decided.append((waiting, error))
            except (
                NotLoaded
            ):  # only ever after the first: the rest keeps its order in the next batch
                self._queue.extendleft(reversed(taken[place:]))
                del taken[place:]
                break
            except Exception as error:  # a mistake in one command is that command's alone
                log.exception("command failed", command=waiting.message.command.name)
                decided.append((waiting, error))
        return decided

    async def _repeat(self, waiting: Waiting, repeat: Repeat) -> None:
        try:
            held = await self._store.load(repeat.stream, repeat.version)
        except DomainError as error:
            _refuse(waiting, error)
        else:
            assert held is not None
            _answer(waiting, Answer(held, repeat.created, replayed=True))

    def _remember(self, states: States) -> None:
        for stream, held in states.items():
            if held is not None:
                self._states[stream] = held
                self._states.move_to_end(stream)
                self._current.add(stream)
        while len(self._states) > CACHED_STATES:
            stream, _ = self._states.popitem(last=False)
            self._current.discard(stream)

    def _forget(self, error: Exception, commands: int) -> None:
        """After a failed commit nothing held in memory can be trusted."""
        self._states.clear()
        self._current.clear()
        self._seen = -1
        self._store.keyring.settle(kept=False)
        if isinstance(error, Overloaded):
            log.warning("batch refused", commands=commands, reason=str(error.__cause__ or error))
        else:
            log.error("batch failed", commands=commands, exc_info=error)

    async def _clean(self, now: datetime) -> None:
        if now - self._cleaned > CLEANING:
            self._cleaned = now
            with suppress(Overloaded):
                await self._store.forget_replies(now - REPLIES_KEPT)


def _answer(waiting: Waiting, answer: Answer) -> None:
    if not waiting.future.done():
        waiting.future.set_result(answer)


def _refuse(waiting: Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)
