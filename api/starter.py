"""Ends a process with its starter: the process reads its task from standard input, which stays open until the starter
ends in any way.
"""

from __future__ import annotations

import os
from io import FileIO
from threading import Thread


def task_of_starter() -> bytes:
    """Read the line with the task. From then on this process ends at once when standard input is closed."""
    starter = FileIO(0, closefd=False)
    line = starter.readline()
    Thread(target=_end_with, args=(starter,), name="end with the starter", daemon=True).start()
    return line


def _end_with(starter: FileIO) -> None:
    starter.read(1)
    os._exit(1)
