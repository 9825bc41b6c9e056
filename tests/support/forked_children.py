"""Forks the processes that a server or a test starts: importing the code in a new process takes most of a second of CPU.

A helper process, which has imported everything, and has no thread, socket or state of the parent, waits until the parent
would execute a command, and then forks: the new process becomes a child of the parent, which sees no difference.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NoReturn, cast

from api import clock, work_process
from api.cli import rebuild_worker

WORK, REBUILD = "work_process", "rebuild_worker"
"""Names of the processes, as their command line is that of the process they were forked from."""
PROGRAMS: Mapping[str, Callable[[], None]] = {WORK: work_process.main, REBUILD: rebuild_worker.main}
FORKED = (*rebuild_worker.COMMAND, "forked")
"""The command of a rebuild process that is forked."""
ADOPT_ORPHANS = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2)."""
LARGEST = 1 << 20
ENVIRONMENT, STANDARD_INPUT, STANDARD_OUTPUT = 5, 9, 12
"""Indexes of arguments of `Popen._execute_child`."""


def fork_work_processes() -> None:
    """Fork the work processes that this process starts from now on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        fork_on_request(theirs, WORK)
    theirs.close()
    _adopt_orphans(1)
    popen = cast(Any, subprocess.Popen)
    popen._execute_child = _forking(ours, work_process.COMMAND)


@contextmanager
def forked_rebuild_workers(start: Callable[..., object]) -> Iterator[None]:
    """While the block runs, fork the rebuild processes that this process starts by the command `FORKED`.

    `start` runs a function in a process of its own, with everything imported.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    popen = cast(Any, subprocess.Popen)
    execute = popen._execute_child
    start(fork_on_request, theirs, REBUILD)
    theirs.close()
    _adopt_orphans(1)
    popen._execute_child = _forking(ours, FORKED)
    try:
        yield
    finally:
        popen._execute_child = execute
        _adopt_orphans(0)
        ours.close()


def _adopt_orphans(adopt: int) -> None:
    ctypes.CDLL(None).prctl(ADOPT_ORPHANS, adopt, 0, 0, 0)


def _forking(forks: socket.socket, forked: object) -> Callable[..., None]:
    """Replace `Popen`'s execution of one command by a request to fork."""
    execute = cast(Any, subprocess.Popen)._execute_child

    def fork_or_execute(process: Any, command: Any, *more: Any) -> None:
        if command != forked:
            execute(process, command, *more)
            return
        output = more[STANDARD_OUTPUT]
        descriptors = [more[STANDARD_INPUT], 1 if output == -1 else output]
        environment = dict(os.environ if more[ENVIRONMENT] is None else more[ENVIRONMENT])
        socket.send_fds(forks, [json.dumps(environment).encode()], descriptors)
        process.pid = int(forks.recv(LARGEST))
        process._child_created = True
        process._close_pipe_fds(*more[STANDARD_INPUT : STANDARD_INPUT + 6])

    return fork_or_execute


def fork_on_request(requests: socket.socket, name: str) -> NoReturn:
    """Fork a process for each request; end with the program that sends them."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, LARGEST, 2)
        if not request:
            os._exit(0)
        readable, writable = os.pipe()
        # An orphan is adopted by its nearest subreaper: by the process that started it.
        if (parent := os.fork()) == 0:
            if (child := os.fork()) == 0:
                for number in (readable, writable):
                    os.close(number)
                requests.close()
                _become(name, json.loads(request), descriptors)
            os.write(writable, str(child).encode())
            os._exit(0)
        os.waitpid(parent, 0)  # only then it is a child of the process that started it
        requests.send(os.read(readable, LARGEST))
        for number in (readable, writable, *descriptors):
            os.close(number)


def _become(name: str, environment: dict[str, str], descriptors: list[int]) -> NoReturn:
    """Do the work of the process, and exit."""
    status = 1
    try:
        os.setsid()
        Path("/proc/self/comm").write_text(name)
        os.environ.clear()
        os.environ.update(environment)
        for number, target in zip(descriptors, (0, 1), strict=True):
            os.dup2(number, target)
            os.close(number)
        sys.stdin = os.fdopen(0, closefd=False)
        cast(Random, cast(Any, clock.chance).__self__).seed()
        PROGRAMS[name]()
        status = 0
    except SystemExit as ended:
        status = _status_of(ended.code)
    except BaseException:  # noqa: BLE001 - the child of a fork ends here, whatever happens
        sys.excepthook(*cast(Any, sys.exc_info()))
    finally:
        sys.stderr.flush()
        os._exit(status)


def _status_of(code: object) -> int:
    """The exit status for the argument of SystemExit; a text is printed."""
    if code is None or isinstance(code, int):
        return code or 0
    sys.stderr.write(f"{code}\n")
    return 1
