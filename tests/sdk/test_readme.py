"""The examples in the README of the SDK run as they are, and print what it shows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api.embedded_postgres.server import EmbeddedPostgres
from service_executions import Client
from tests.support.databases import new_database
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.running_server import TOKEN, serving
from workers.timers.worker import TimerWorker

README = (ROOT / "sdk" / "python" / "README.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", re.DOTALL)


async def wait(*_: object) -> None:
    """Stands for the work of timers."""
    await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def service(
    postgres: EmbeddedPostgres,
    admin: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[None]:
    """A new service, set in the environment, and the only one in its map of logs. It fires no timers: otherwise the retry that an
    example shows as waiting would begin a second later.
    """
    monkeypatch.setattr(TimerWorker, "run", wait)
    monkeypatch.chdir(tmp_path)
    port = free_port()
    cells = f"north=http://127.0.0.1:{port}"
    with (
        new_database(admin) as name,
        serving(postgres.conninfo(name), port, cells=cells) as running,
    ):
        monkeypatch.setenv("EXECUTIONS_URL", running.url)
        monkeypatch.setenv("EXECUTIONS_TOKEN", TOKEN)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        yield


def test_examples_of_the_readme_print_what_it_shows() -> None:
    names: dict[str, Any] = {}
    for code, expected in BLOCK.findall(README):
        if isinstance(client := names.get("client"), Client):
            client.executions.list().first()  # waits for writes, which lists of several logs do not
        printed = StringIO()
        names["print"] = partial(print, file=printed)  # the service in this process prints, too
        exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own examples
        pattern = re.escape(expected).replace("…", r"[\s\S]*?")
        assert re.fullmatch(pattern, printed.getvalue()), (
            f"{printed.getvalue()}\nis not\n{expected}"
        )
    assert len(BLOCK.findall(README)) >= 10
