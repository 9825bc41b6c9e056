"""The work process: does the background work of a log beside the server, which keeps it running.

The two share only the database, so that the interpreter of the server has only requests to run. The process is started
as a program, not forked from the server: it inherits no sockets, locks and secrets, and can be restarted at any time.
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
"""Seconds for the process to end after SIGTERM, before it is killed."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 4.0
"""Seconds before the process is restarted: doubled each time, unless it was running for longer than the longest."""

log = structlog.get_logger()


class WorkProcess:
    """Runs the process while the block runs. The process ends with the server, in whatever way the server ends."""

    def __init__(self, task: WorkTask, command: Sequence[str] = COMMAND) -> None:
        self._task = task
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._ended_at: float | None = None
        self._pause = 0.0
        """Seconds; 0 where the process was running for longer than `LONGEST_PAUSE`."""
        self._asked_to_end = False
        """Whether `start_again` has asked the process to end."""

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
        """Restart the process if it has ended: at once, or after a pause if it was started shortly before.

        The server calls this every second.
        """
        if self._process is None or (status := self._process.poll()) is None:
            return
        now = monotonic()
        if self._ended_at is None:
            self._ended_at = now
            ran_long = now - self._started_at > LONGEST_PAUSE
            pause = min(max(2 * self._pause, SHORTEST_PAUSE), LONGEST_PAUSE)
            self._pause = 0.0 if ran_long else pause
            self._log_end(status)
            with self._process:  # closes its standard input
                pass
        if now >= self._ended_at + self._pause:
            self._start()

    def start_again(self) -> None:
        """Restart the process, which takes the time of day as it is then."""
        if self._process is not None:
            self._asked_to_end = True
            self._process.terminate()

    def relocate(self, conninfo: str) -> None:
        """Use another database when the process is restarted; a running process notices the move itself."""
        self._task = self._task._replace(conninfo=conninfo)

    def _log_end(self, status: int) -> None:
        write, self._asked_to_end = log.info if self._asked_to_end else log.error, False
        write("work process ended, and starts again", status=status)

    def _start(self) -> None:
        # A session of its own, as Ctrl-C is for the server, which then ends the process.
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
        with suppress(BrokenPipeError):  # the process has failed already; its status is logged
            self._process.stdin.write(json.dumps(self._task).encode() + b"\n")


def main() -> None:
    """Do the work of the task that the server writes to standard input."""
    task = WorkTask(*json.loads(task_of_starter()))
    configure_logging(task.log_level)
    try:
        work_until_stopped(task)
    except SetupError as error:
        log.error("the work process ends", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
