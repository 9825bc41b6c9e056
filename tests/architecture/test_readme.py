"""The session of the README runs as it is written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
PROGRAM = Path(sys.executable).with_name("executions")


@pytest.fixture
def address(database: str, tmp_path: Path) -> Iterator[str]:
    """A server of this test, started as `executions serve` starts it."""
    environment = {**os.environ, "EXECUTIONS_DATABASE_URL": database}
    with subprocess.Popen(
        [PROGRAM, "serve", "--port", "0", "--data-dir", tmp_path],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


def session() -> str:
    """Every shell block of the session, in order."""
    section = README.partition("## A session to paste")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


def test_session_of_the_readme_runs_as_written(address: str, tmp_path: Path) -> None:
    script = session().replace("http://127.0.0.1:8000", address)
    script = script.replace(".venv/bin/executions", str(PROGRAM))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "EXECUTIONS_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "/problems/" not in done.stdout
    assert '"status":"completed"' in done.stdout
    assert "event: execution.completed" in done.stdout
    assert '"op":"replace"' in done.stdout
    done_at = re.search(r"id: (\d+)[^\n]*\nevent: execution.completed\n", done.stdout)
    waited = [int(position) for position in re.findall(r"minPosition=(\d+)", script)]
    assert done_at is not None
    assert waited
    assert all(position >= int(done_at[1]) for position in waited)
    assert len(waited) == len(re.findall(r"/executions\?", script)), "a list waits for nothing"
    assert "curl:" not in done.stderr
    assert '"claimedBy":{"worker":"worker-1"' in done.stdout
    assert '"status":"retry"' in done.stdout


def test_work_to_watch_is_recorded_by_the_demo_and_by_the_sdk(address: str, tmp_path: Path) -> None:
    section = README.partition("## See it")[2].partition("\n## ")[0]
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    [python] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert "executions open" in shell
    commands = [line.partition("#")[0].strip() for line in shell.splitlines()]
    commands = [f"{line} --speed 500" if "demo" in line else f"{line} --print" for line in commands]
    script = "\n".join(commands).replace(".venv/bin/executions", str(PROGRAM))
    token = (tmp_path / "admin.token").read_text().strip()
    for program in (["bash", "-euo", "pipefail", "-c", script], [sys.executable, "-c", python]):
        done = subprocess.run(
            program,
            env={
                **os.environ,
                "EXECUTIONS_DATA_DIR": str(tmp_path),
                "EXECUTIONS_URL": address,
                "EXECUTIONS_TOKEN": token,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "/open#" in done.stdout or done.stdout.endswith(" completed\n"), done.stdout


def test_every_page_the_readme_links_to_exists() -> None:
    pages = re.findall(r"\]\(([\w/.-]+)\)", README)
    assert pages
    assert [page for page in pages if not (ROOT / page).exists()] == []
