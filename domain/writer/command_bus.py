"""The bus: it decides commands in batches, commits each batch at once, and answers every command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, NamedTuple

import structlog

from domain.errors import DomainError, OutcomeUnknown, Overloaded, Unreadable
from domain.eventlog.append import HeadMoved, Transaction, WrongGuess
from domain.eventlog.connection.commit import OutcomeLost
from domain.eventlog.idempotency import REPLY_RETENTION
from domain.eventlog.store import Store
from domain.model import Versioned
from domain.writer import guarded_batch
from domain.writer.background_tasks import BackgroundTasks
from domain.writer.batch import Batch, Decided, Loaded, NotLoaded, Repeat, streams_needed
from domain.writer.dry_run import DryRun, dry_run
from domain.writer.message import Message, Unless
from domain.writer.queue import AnswerReceiver, CommandQueue, FutureReceiver, WaitingCommand
from domain.writer.state_cache import StateCache
from domain.writer.visible_states import load_answered_state

LARGEST_BATCH = 16 * 1024 * 1024
"""Bytes of events and log lines after which a batch takes no further command."""
QUEUE = 10_000
GATHERING = 0.001
"""The longest time, in seconds, that the writer waits for a batch as large as the last one."""

log = structlog.get_logger()
Clock = Callable[[], datetime]


class Answer(NamedTuple):
    """The state after a command. `replayed`: the answer was given before; `recorded`: an event or a log line was recorded."""

    versioned: Versioned[Any]
    created: bool = False
    replayed: bool = False
    recorded: bool = False


Outcome = Decided | Repeat | Exception
Outcomes = list[tuple[WaitingCommand, Outcome]]


class Bus:
    """Decides commands in batches, each in one transaction, and answers each command.

    The refusal of one command does not affect the others of its batch. If the database does not commit a batch, all its
    commands are refused. A batch that fails for any other reason is tried again in smaller parts, until the command at
    fault is alone. `lines_written` is called after each commit of log lines; `doubt` returns the present refusal of all
    commands, or None.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[str], str],
        random: Callable[[], float],
        limit: int = QUEUE,
        *,
        lines_written: Callable[[], None] = lambda: None,
        doubt: Callable[[], DomainError | None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._random = random
        self._lines_written = lines_written
        self._doubt = doubt
        self._queue = CommandQueue(limit, store.outages)
        self._cache = StateCache(store.keyring, store.seen)
        self._background = BackgroundTasks(store, clock)
        self._task: asyncio.Task[None] | None = None
        self._stopping = True

    @property
    def waiting(self) -> int:
        """The number of commands in the queue."""
        return len(self._queue)

    def start(self) -> None:
        """Start the writer; needs a running event loop."""
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name="writer")

    async def stop(self) -> None:
        """Accept no more commands, write those in the queue, and end."""
        self._stopping = True
        self._queue.wake()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
            await self._background.finish()

    async def send(self, message: Message) -> Answer:
        """Record the events of a command, and return the state after it.

        Raises:
            DomainError: the command was refused; nothing was recorded.
            Overloaded: too many commands wait, or the database is unavailable; nothing was recorded.
            OutcomeUnknown: the database failed during the commit, and did not report within seconds whether it was done.
        """
        return await self.submit(message)

    async def dry_run(self, message: Message) -> DryRun:
        """Decide a command on the present states, without the writer, and record nothing.

        Raises:
            DomainError: the command would be refused.
        """
        return await dry_run(message, self._store, self._clock(), self._new_id, self._random)

    def submit(self, message: Message) -> asyncio.Future[Answer]:
        """Queue a command, and return a future of its answer. Commands are decided in the order of the calls, bulk ones later."""
        receiver = FutureReceiver()
        self.deliver(message, receiver)
        return receiver.future

    def deliver(self, message: Message, receiver: AnswerReceiver) -> None:
        """Queue a command, and return at once; `receiver` gets its outcome. Raises Overloaded where too many wait."""
        self.require_room(1)
        self._queue.put(message, receiver)

    def require_room(self, commands: int) -> None:
        """Raises Overloaded where so many more commands cannot wait, the bus stops, or the clock is in doubt."""
        if self._stopping:
            raise Overloaded
        if (doubt := self._doubt()) is not None:
            raise doubt
        self._queue.require_room(commands)

    async def _run(self) -> None:
        taken: list[WaitingCommand] = []
        gathered = 0
        try:
            while self._queue or not self._stopping:
                if not self._queue:
                    await self._queue.wait_until_filled()
                if gathered > 1:  # the callers of that batch may send again, and share a commit
                    await self._queue.gather(gathered, GATHERING)
                if taken := self._queue.take():
                    gathered = len(taken)
                    await self._serve(taken)
                    self._queue.note_answered()
                    taken = []
        finally:
            self._stopping = True
            self._queue.refuse(taken)

    async def _serve(self, taken: list[WaitingCommand]) -> None:
        try:
            outcomes = await self._write(taken)
        except (Overloaded, OutcomeUnknown) as error:
            self._cache.forget()
            self._queue.shrink(len(taken))  # the batch may have been too large for the time limit
            for waiting in taken:
                waiting.refuse(type(error)(error.detail))
            if self._store.outages.current is None:  # `Outages` logs the begin of an outage
                reason = str(error.__cause__ or error).strip()
                log.warning("batch refused", commands=len(taken), reason=reason)
            self._queue.note_failed(taken)
        except Exception as error:  # noqa: BLE001 - every caller gets an answer after any exception
            self._cache.forget()
            self._split_failed(taken, error)
        else:
            self._queue.widen()
            for waiting, outcome in outcomes:
                self._settle(waiting, outcome)
            self._background.clean()

    async def _write(self, taken: list[WaitingCommand]) -> Outcomes:
        # Stored replies do not move the head, so commands with keys need the lock.
        cache, needs_lock = self._cache, any(waiting.message.needs_lock for waiting in taken)
        while cache.alone and not needs_lock:
            try:
                return await self._write_in(
                    self._store.attempt(cache.session, cache.position, cache.at), taken
                )
            except WrongGuess:
                cache.stop_guessing()
            except HeadMoved:
                cache.other_process_wrote()
        if not needs_lock and (written := await self._write_guarded(taken)) is not None:
            return written
        while True:
            try:
                return await self._write_in(self._store.transaction(), taken)
            except HeadMoved:  # another request stored one of the idempotency keys
                continue

    async def _write_in(
        self, writing: AbstractAsyncContextManager[Transaction], taken: list[WaitingCommand]
    ) -> Outcomes:
        try:
            async with writing as transaction:
                batch = await self._prepare(transaction, taken)
                outcomes = self._decide(batch, taken)
                snapshots = guarded_batch.snapshots_of(batch)
                if batch.rows or batch.new_replies or batch.lines or batch.heartbeats:
                    await transaction.append(
                        batch.rows, batch.new_replies, batch.now, batch.lines, batch.heartbeats
                    )
                else:
                    await transaction.confirm()
        except OutcomeLost as lost:
            await guarded_batch.require_written(self._store, lost)
        with guarded_batch.unknown_after_commit():
            at = batch.now if batch.rows else transaction.at
            self._cache.remember(batch.states, batch.position, at)
            if batch.lines:
                self._lines_written()
            self._background.store_snapshots(snapshots)
        return outcomes

    async def _write_guarded(self, taken: list[WaitingCommand]) -> Outcomes | None:
        store, cache, messages = self._store, self._cache, [each.message for each in taken]
        if (states := cache.cached_states(messages)) is None:
            return None
        batch = self._make_batch(cache.position, max(self._clock(), cache.at), states)
        written = await guarded_batch.write(store, cache, batch, messages, LARGEST_BATCH)
        if written is None:
            return None
        decided, snapshots = written
        with guarded_batch.unknown_after_commit():
            self._background.store_snapshots(snapshots)
            return Outcomes(zip(taken, decided, strict=True))

    def _split_failed(self, taken: list[WaitingCommand], error: Exception) -> None:
        """Try the halves of a failed batch; the command of a batch of one is at fault, and is refused."""
        if len(taken) > 1:
            self._queue.split_failed(taken)
            return
        taken[0].refuse(error)
        log.error("command failed", command=taken[0].message.command.wire_name, exc_info=error)

    async def _prepare(self, transaction: Transaction, taken: list[WaitingCommand]) -> Batch:
        now = max(self._clock(), transaction.at)
        keys = [w.message.idempotency.key for w in taken if w.message.idempotency]
        replies = await transaction.replies(keys, now - REPLY_RETENTION) if keys else {}
        unless = Unless.earliest(w.message.unless for w in taken if w.message.unless)
        self._cache.begin(transaction)
        states = await self._cache.load(transaction, [waiting.message for waiting in taken])
        batch = self._make_batch(transaction.position, now, states)
        batch.replies, batch.damaged = replies, self._cache.damaged
        batch.latest = await transaction.latest(unless)
        return batch

    def _make_batch(self, position: int, now: datetime, states: Loaded) -> Batch:
        store = self._store
        return Batch(
            position, now, states, {}, store.codec, store.keyring, self._new_id, self._random
        )

    def _decide(self, batch: Batch, taken: list[WaitingCommand]) -> Outcomes:
        outcomes = Outcomes()
        for index, waiting in enumerate(taken):
            if batch.size > LARGEST_BATCH:
                self._queue.put_back_from(taken, index)
                break
            try:
                outcomes.append((waiting, batch.take(waiting.message)))
            except DomainError as error:
                if self._may_be_wrong_guess(waiting.message, batch, error):
                    raise WrongGuess from error
                outcomes.append((waiting, error))
            except NotLoaded:
                if index == 0:
                    raise
                self._queue.put_back_from(taken, index)
                break
            except Exception as error:  # an exception of one command does not affect the others
                log.exception("command failed", command=waiting.message.command.wire_name)
                outcomes.append((waiting, error))
        return outcomes

    def _may_be_wrong_guess(self, message: Message, batch: Batch, error: DomainError) -> bool:
        """Whether a refusal may be due to the guess that a stream which the message needs is absent."""
        if isinstance(error, Unreadable):
            return False
        needed, states = streams_needed(message, batch.states), batch.states
        return any(self._cache.is_guessed(each) and states.get(each) is None for each in needed)

    def _settle(self, waiting: WaitingCommand, outcome: Outcome) -> None:
        if isinstance(outcome, Decided):
            versioned, created, recorded = outcome
            waiting.answer(Answer(versioned, created, recorded=recorded))
        elif isinstance(outcome, Repeat):
            self._background.answer(waiting, self._repeat(waiting.message, outcome))
        else:
            waiting.refuse(outcome)

    async def _repeat(self, message: Message, repeat: Repeat) -> Answer:
        versioned = await load_answered_state(self._store, *repeat[:3], message.permits)
        return Answer(versioned, repeat.created, replayed=True)
