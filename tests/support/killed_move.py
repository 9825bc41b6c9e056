"""`executions …`, as a program that is killed before or after it has called a method of `MoveDatabases`."""

from __future__ import annotations

import os
import signal
from functools import wraps
from typing import Any

from api.cli.main import main
from domain.eventlog.moving.databases import MoveDatabases


def killed_at(method: str, when: str) -> None:
    """Let this process be killed at the call."""
    do = getattr(MoveDatabases, method)

    @wraps(do)
    def killed(*values: Any) -> None:
        if when == "after":
            do(*values)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(MoveDatabases, method, killed)


def run(method: str, when: str, arguments: list[str], environment: dict[str, str]) -> None:
    """Run the program."""
    os.environ.clear()
    os.environ.update(environment)
    killed_at(method, when)
    main(arguments)
