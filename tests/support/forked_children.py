"""The work process of a forked server, forked as well: to import what it needs takes most of a second of CPU.

The server forks a process before it does anything else. That one has no thread, no socket and no state of the server, waits
until the server would start its work process, and forks it: as a child of the server, which sees no difference.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

from api.work_process import COMMAND

NAME = "work_process"
"""That of the process, as its command line is that of what forked it."""
ADOPT_ORPHANS = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2)."""
LARGEST = 1 << 20
ENVIRONMENT, STANDARD_INPUT, STANDARD_OUTPUT = 5, 9, 12
"""Places of arguments of `Popen._execute_child`."""


def fork_work_processes(run: Callable[[], None]) -> None:
    """Let a function do the work of the processes that this one starts by the command `COMMAND` from here on."""
    libc = ctypes.CDLL(None)
    libc.prctl(ADOPT_ORPHANS, 1, 0, 0, 0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        _fork_on_request(theirs, run)
    theirs.close()
    popen = cast(Any, subprocess.Popen)
    execute = popen._execute_child

    def fork_or_execute(process: Any, command: Any, *more: Any) -> None:
        if command != COMMAND:
            execute(process, command, *more)
            return
        descriptors = [more[STANDARD_INPUT], more[STANDARD_OUTPUT]]
        socket.send_fds(ours, [json.dumps(more[ENVIRONMENT]).encode()], descriptors)
        process.pid = int(ours.recv(LARGEST))
        process._child_created = True
        process._close_pipe_fds(*more[STANDARD_INPUT : STANDARD_INPUT + 6])

    popen._execute_child = fork_or_execute


def _fork_on_request(requests: socket.socket, run: Callable[[], None]) -> NoReturn:
    """Fork a process for each request; end with the program whose requests these are."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, LARGEST, 2)
        if not request:
            os._exit(0)
        # An orphan is adopted by the nearest ancestor that wants it: by the server.
        if (parent := os.fork()) == 0:
            if (child := os.fork()) == 0:
                requests.close()
                _become(json.loads(request), descriptors, run)
            requests.send(str(child).encode())
            os._exit(0)
        os.waitpid(parent, 0)
        for number in descriptors:
            os.close(number)


def _become(
    environment: dict[str, str], descriptors: list[int], run: Callable[[], None]
) -> NoReturn:
    """Do the work of the work process, and end."""
    status = 1
    try:
        os.setsid()
        Path("/proc/self/comm").write_text(NAME)
        os.environ.clear()
        os.environ.update(environment)
        for number, target in zip(descriptors, (0, 1), strict=True):
            os.dup2(number, target)
            os.close(number)
        run()
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - the child of a fork ends here, whatever happens
        sys.excepthook(*cast(Any, sys.exc_info()))
    finally:
        sys.stderr.flush()
        os._exit(status)
