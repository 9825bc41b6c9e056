"""Ports for programs that tests start: no two tests that run at once choose the same."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator

FIRST, PROCESSES, OF_A_PROCESS = 10_000, 10, 2_000
"""The kernel itself gives out ports from 32768 on, so none of these is taken by a connection between being chosen and being
used.
"""


def _candidates() -> Iterator[int]:
    """The ports of this process of the test run, over and over, from a random one on, as other runs may be under way."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PROCESSES
    offset = random.randrange(OF_A_PROCESS)
    while True:
        yield FIRST + number * OF_A_PROCESS + offset
        offset = (offset + 1) % OF_A_PROCESS


_ports = _candidates()


def free_port() -> int:
    """Return a port at which nothing listens, and that this process has not returned for a long time."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError
