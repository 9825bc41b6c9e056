"""Runs `executions` in a process that is forked with everything imported, which saves a second of CPU each.

It is forked from a process that only imports (`multiprocessing`'s fork server), so it has no thread, socket or state of the
tests. Programs that are started as by their users use `subprocess` instead.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, cast

from tests.support.paths import ROOT

STATE: ForkServerContext = get_context("forkserver")
PROGRAMS = ("api.service", "api.cli.work", "api.cli.projections", "api.cli.verify")
SUPPORT = (
    "tests.support.forked_program",
    "tests.support.forked_children",
    "tests.support.preloaded",
)
STATE.set_forkserver_preload([*PROGRAMS, *SUPPORT])


class ForkedProgram:
    """A running command of `executions`, whose output goes to a file; like a `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        errors: Path | None = None,
        descriptors: int | None = None,
    ) -> None:
        self.args = ["executions", *arguments]
        given = (
            list(arguments),
            dict(environment),
            str(output),
            str(errors or output),
            descriptors,
        )
        self._process = start_forked(_run, *given)
        self.pid = cast(int, self._process.pid)

    @property
    def returncode(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            TimeoutExpired: it runs on.
        """
        self._process.join(timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def run_forked(
    arguments: Sequence[str], environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its result and output.

    Raises:
        TimeoutExpired: it has not ended in some seconds; it is killed.
    """
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        program = ForkedProgram(arguments, environment, output, errors)
        try:
            code = program.wait(seconds)
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(
            program.args, code, output.read_text(), errors.read_text()
        )


def start_forked(run: Callable[..., object], *arguments: Any) -> ForkServerProcess:
    """Call a function in a new process with everything imported; it ends with this process."""
    process = STATE.Process(target=run, args=arguments, daemon=True)
    process.start()
    return process


def exit_code_of_forked(run: Callable[..., object], *arguments: Any, seconds: float) -> int | None:
    """The exit code of such a process, or the negative number of the signal that ended it; None while it runs."""
    process = start_forked(run, *arguments)
    process.join(seconds)
    return process.exitcode


def _run(
    arguments: list[str],
    environment: dict[str, str],
    output: str,
    errors: str,
    descriptors: int | None,
) -> None:
    """Become the program."""
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    nothing = os.open(os.devnull, os.O_RDONLY)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for number, target in ((0, nothing), (1, os.open(output, flags)), (2, os.open(errors, flags))):
        os.dup2(target, number)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from api import clock
    from api.cli.main import main
    from tests.support.forked_children import fork_work_processes

    fork_work_processes()
    cast(Random, cast(Any, clock.chance).__self__).seed()
    main(arguments)
