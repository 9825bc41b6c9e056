"""The process beside the server in which the views follow the log. The server keeps it running.

The two share nothing but the database, so the interpreter of the server is there for requests alone.
It is started as a program, not forked from the server: it has none of its sockets, locks and secrets,
and can be started again at any time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Self

import structlog

from api.settings import SetupError, environment_of_children
from api.starter import task_of_starter
from api.telemetry.logging import configure_logging
from api.work_task import WorkTask, work_until_stopped

COMMAND = (sys.executable, "-P", "-m", "api.work_process")
ENDS_WITHIN = 10.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 4.0
"""Seconds before it is started again: doubled whenever it has not lived for the longest."""

log = structlog.get_logger()


class WorkProcess:
    """The process while the block runs. However the server ends, it ends with it."""

    def __init__(self, task: WorkTask, command: Sequence[str] = COMMAND) -> None:
        self._task = task
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._ended_at: float | None = None
        self._pause = 0.0
        """Seconds; 0 where it has lived for long."""
        self._asked = False
        """Whether it was asked to end."""

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is None:
            return
        with process:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDS_WITHIN)
            process.kill()

    def ensure_running(self) -> None:
        """Start it again if it has ended: at once, or after a pause if it had just been started. The server
        asks for this each second.
        """
        if self._process is None or (status := self._process.poll()) is None:
            return
        now = monotonic()
        if self._ended_at is None:
            self._ended_at = now
            lived = now - self._started_at > LONGEST_PAUSE
            pause = min(max(2 * self._pause, SHORTEST_PAUSE), LONGEST_PAUSE)
            self._pause = 0.0 if lived else pause
            self._say_ended(status)
            with self._process:  # closes its standard input
                pass
        if now >= self._ended_at + self._pause:
            self._start()

    def start_again(self) -> None:
        """Let it end, and be started again: it takes the clock as it is then."""
        if self._process is not None:
            self._asked = True
            self._process.terminate()

    def relocate(self, conninfo: str) -> None:
        """Let it work in another database once it is started again: it goes there by itself."""
        self._task = self._task._replace(conninfo=conninfo)

    def _say_ended(self, status: int) -> None:
        say, self._asked = log.info if self._asked else log.error, False
        say("work process ended, and starts again", status=status)

    def _start(self) -> None:
        # A session of its own: Ctrl-C is for the server, which ends it.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            env=environment_of_children(),
            start_new_session=True,
        )
        self._started_at, self._ended_at = monotonic(), None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has failed already, which its status tells
            self._process.stdin.write(json.dumps(self._task).encode() + b"\n")


def main() -> None:
    """Work for the log that the server names."""
    task = WorkTask(*json.loads(task_of_starter()))
    configure_logging(task.log_level)
    try:
        work_until_stopped(task)
    except SetupError as error:
        log.error("the work process ends", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
