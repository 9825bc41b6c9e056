"""The buffer: a thread sends recorded commands in batches, so that recording never delays the work.

While the service is unavailable, the batches are stored in files, so that they survive the end of the process.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple
from weakref import WeakSet

from pydantic_core import from_json, to_json, to_jsonable_python

from service_executions.errors import ApiError, ExecutionsError
from service_executions.ids import new_id
from service_executions.recording.early import EarlyExecutions, is_of_the_future
from service_executions.recording.spool import MOST_COMMANDS, Batch, Spool
from service_executions.resumption import LOG
from service_executions.retries import LONGEST, PASSING, Retries, passing

GATHER = 0.05
"""Seconds for which commands gather to a batch."""
AWAY = 0.25
"""Seconds between two writes of new commands to files, while the service is unavailable."""
MOST_REFUSED = 1_000
"""Refused commands that are kept in `Buffer.refused`."""
AT_EXIT = 5.0
"""Seconds for which the end of the process waits for the service."""
ENDLESS = Retries(1_000)
Post = Callable[[bytes, str], list[dict[str, Any]]]
"""Sends a body to `/commands` once, with an idempotency key, and returns the outcomes."""


class Refused(NamedTuple):
    """A command that the service refused, and the problem document."""

    command: dict[str, Any]
    problem: dict[str, Any]


class Buffer:
    """Accepts commands at any rate, and has each recorded once."""

    def __init__(self, post: Post, spool: Spool, closed: Callable[[], None] = lambda: None) -> None:
        self.refused: deque[Refused] = deque(maxlen=MOST_REFUSED)
        """The latest commands that the service refused."""
        self._post = post
        self._closed = closed
        self._spool = spool
        self._waiting: deque[bytes] = deque()
        self._batches: deque[Batch] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._hurry = False
        self._deadline: float | None = None
        self._thread: threading.Thread | None = None
        self._early = EarlyExecutions()
        self._finalizer: Any = None
        _BUFFERS.add(self)

    def begin_again_after_fork(self) -> None:
        """Forget what the parent process sends, in a child that it has forked, where the thread does not run."""
        self._changed = threading.Condition()
        self._waiting.clear()
        self._batches.clear()
        self._busy = self._hurry = False
        self._thread = self._finalizer = None
        self._closed = lambda: None  # what it closes is of the parent process
        self._spool = self._spool.of_child()

    def add(self, command: dict[str, Any]) -> None:
        """Add a command. Values that JSON does not have are written as their `repr`, and lone surrogates as `?`.

        Raises:
            ValueError: the command contains itself.
        """
        encoded = _encode(command)
        with self._changed:
            self._waiting.append(encoded)
            self._busy = True
            if self._thread is None:
                self._start()
            if len(self._waiting) in (1, MOST_COMMANDS):
                self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all commands are sent, for at most `timeout` seconds; return whether they are."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._busy, timeout)

    def close(self, timeout: float = AT_EXIT) -> None:
        """Send commands for at most `timeout` seconds, and store the remaining ones in files."""
        atexit.unregister(self.close)
        if self._finalizer is not None:
            self._finalizer.cancel()
        with self._changed:
            thread, self._deadline = self._thread, time.monotonic() + timeout
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout + 1)
            with self._changed:
                self._store()  # also a batch that is being sent: by its key it is recorded only once
        self._spool.close()
        self._closed()

    def _start(self) -> None:
        self._deadline = None
        self._thread = threading.Thread(target=self._run, name="service-executions", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        if (multiprocessing := sys.modules.get("multiprocessing.util")) is not None:
            # A process of multiprocessing ends without the functions of `atexit`.
            self._finalizer = multiprocessing.Finalize(None, self.close, exitpriority=10)

    def _run(self) -> None:
        try:
            self._batches.extend(self._spool.adopt())
        except OSError as error:
            LOG.warning("what earlier processes left cannot be read: %s", error)
        while self._gather():
            batch = self._batches[0]
            if not self._deliver(batch):
                return
            self._batches.popleft()
            self._spool.done(batch)

    def _gather(self) -> bool:
        """Wait until there is a batch to send; return False if the buffer is closed first."""
        with self._changed:
            while not self._batches:
                if self._waiting:
                    if not (self._hurry or self._deadline is not None):
                        self._changed.wait_for(self._is_full, GATHER)
                    self._batch()
                    continue
                self._busy = self._hurry = False
                self._changed.notify_all()
                if self._deadline is not None:
                    self._thread = None
                    return False
                self._changed.wait()
            return True

    def _is_full(self) -> bool:
        return len(self._waiting) >= MOST_COMMANDS or self._hurry or self._deadline is not None

    def _batch(self) -> None:
        """Put all waiting commands into batches."""
        while self._waiting:
            line = self._early.without_time(self._waiting.popleft())
            if not (self._batches and self._batches[-1].takes(line)):
                self._batches.append(Batch(new_id("batch")))
            self._batches[-1].add(line)

    def _deliver(self, batch: Batch) -> bool:
        """Send a batch until it is answered; return False if the buffer is closed first."""
        with self._changed:
            batch.is_sent = True
        for attempt in count():
            pause = AWAY
            try:
                outcomes = self._post(batch.body, batch.key)
            except ExecutionsError as error:
                if isinstance(error, ApiError) and not _may_succeed(error):
                    self._refuse(batch, error)
                    return True
                reason = str(error)
                pause = max(AWAY, ENDLESS.pause(min(attempt, 8), error) or LONGEST)
            else:
                if not any(outcome["status"] in PASSING for outcome in outcomes):
                    self._settle(batch, outcomes)
                    return True
                reason = "the service has too much to do"
            if not self._wait(reason, pause):
                break
        return False

    def _wait(self, reason: str, pause: float) -> bool:
        """Store all batches in files and wait; return False if the buffer is closed meanwhile."""
        LOG.warning("%s; what is recorded waits, and is sent again in %.1f s", reason, pause)
        end = time.monotonic() + pause
        with self._changed:
            while True:
                self._store()
                now = time.monotonic()
                if self._deadline is not None and now >= self._deadline:
                    self._thread = None
                    self._changed.notify_all()
                    return False
                if now >= end:
                    return True
                self._changed.wait(min(AWAY, end - now))

    def _store(self) -> None:
        """Store all batches in files."""
        self._batch()
        for batch in self._batches:
            self._keep(batch)

    def _settle(self, batch: Batch, outcomes: list[dict[str, Any]]) -> None:
        """Note the refused commands. Commands that were refused only because our clock is fast are sent again without their
        time.
        """
        if all(outcome["status"] < 400 for outcome in outcomes):
            return
        again: list[bytes] = []
        for line, outcome in zip(batch.lines, outcomes, strict=True):
            problem = outcome.get("problem")
            if problem is None:
                continue
            command = from_json(line)
            execution = command["execution"]
            if "occurredAt" in command and (is_of_the_future(problem) or execution in self._early):
                self._early.add(execution)
                again.append(line)
                continue
            self.refused.append(Refused(command, problem))
            LOG.warning(
                "%s of %s was refused: %s", command["command"], execution, problem["detail"]
            )
        if again:
            with self._changed:
                self._send_next(again)

    def _send_next(self, again: list[bytes]) -> None:
        """Put commands behind the present batch, before those that were not sent yet. Those of `_early` lose their times."""
        current, *behind = self._batches
        first = _batch_of([self._early.without_time(line) for line in again])
        if current.file is not None:
            self._keep(first)
        sent = [batch for batch in behind if batch.is_sent]
        unsent = [self._with_times_removed(batch) for batch in behind if not batch.is_sent]
        self._batches = deque([current, first, *sent, *unsent])

    def _with_times_removed(self, batch: Batch) -> Batch:
        lines = [self._early.without_time(line) for line in batch.lines]
        if lines == batch.lines:
            return batch
        made = _batch_of(lines)
        if batch.file is not None:
            self._keep(made)
            self._spool.done(batch)
        return made

    def _keep(self, batch: Batch) -> None:
        try:
            self._spool.keep(batch)
        except OSError as error:
            LOG.warning("what is recorded cannot be kept in a file: %s", error)

    def _refuse(self, batch: Batch, error: ApiError) -> None:
        LOG.error("%d commands were refused: %s", len(batch.lines), error)
        for line in batch.lines:
            self.refused.append(Refused(from_json(line), dict(error.problem)))


def _batch_of(lines: list[bytes]) -> Batch:
    return Batch(new_id("batch"), lines, sum(map(len, lines)))


_BUFFERS: WeakSet[Buffer] = WeakSet()


def _begin_again_after_fork() -> None:
    for buffer in list(_BUFFERS):
        buffer.begin_again_after_fork()


os.register_at_fork(after_in_child=_begin_again_after_fork)


def _encode(command: dict[str, Any]) -> bytes:
    try:
        return to_json(command, fallback=repr, inf_nan_mode="null", bytes_mode="base64")
    except ValueError:  # for a file name that is not valid UTF-8, for example
        text = json.dumps(command, default=_plain, ensure_ascii=False).encode(errors="replace")
        return to_json(json.loads(text), inf_nan_mode="null")


def _plain(value: Any) -> Any:
    """Convert a value that `json` cannot write as `to_json` does. Characters that JSON cannot hold stay in it."""
    return to_jsonable_python(value, fallback=repr, bytes_mode="base64")


def _may_succeed(error: ApiError) -> bool:
    """Whether the same request may succeed later, perhaps after somebody has changed a token or a setting."""
    return passing(error) or error.status in {401, 403, 404} or error.status >= 500
