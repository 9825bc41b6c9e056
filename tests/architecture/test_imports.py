"""Modules that a program must not import, checked in a new interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

WEB = {"starlette", "uvicorn", "httpx", "websockets", "sse_starlette", "jwt", "prometheus_client"}
TERMINAL = {"click", "rich", "pygments"}
ARCHIVE = {"duckdb", "obstore"}
SHOWN = "import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"

# The module of a program, and libraries that it does not need.
LIGHT: dict[str, set[str]] = {
    "api.work_process": WEB | TERMINAL | ARCHIVE,
    "api.cli.main": WEB | {"rich", "pygments", "psycopg", "cryptography"},
    "api.cli.work": WEB | ARCHIVE | {"rich", "pygments"},
    "api.cli.engine.archive": WEB | {"rich", "pygments", "uvloop", "httptools"},
    "api.service": {"jwt"} | ARCHIVE,
    "api.cli.rebuild_worker": WEB | TERMINAL | ARCHIVE | {"uvloop", "httptools"},
}


def libraries(module: str) -> set[str]:
    """The libraries that a new interpreter has loaded after importing a module."""
    command = (sys.executable, "-P", "-c", SHOWN.format(module=module))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", LIGHT)
def test_program_imports_none_of_what_it_does_not_need(module: str) -> None:
    assert libraries(module) & LIGHT[module] == set()


def test_server_imports_the_libraries_that_others_do_not_need() -> None:
    assert {"starlette", "uvicorn"} <= libraries("api.service")
