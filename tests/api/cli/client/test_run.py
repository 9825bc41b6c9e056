"""`executions run` runs a command and records it as an execution."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service_executions import Client, Execution
from tests.support.ports import free_port
from tests.support.running_server import TOKEN, Serving
from tests.support.service_process import PROGRAM


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[Client]:
    with Client(server.url, TOKEN) as made:
        made.users.create("acme", name="Acme", kind="organization")
        made.services.create("ci", name="CI", provider="acme")
        made.orders.create("builds", service="ci", customer="acme")
        yield made


def command(url: str, identity: str, *words: str, order: str = "builds") -> list[str]:
    where = ("--url", url, "--token", TOKEN, "--id", identity, "--service", "ci", "--order", order)
    return [*PROGRAM, "run", *where, "--", *words]


def run_command(
    url: str, identity: str, *words: str, state: Path, order: str = "builds"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(url, identity, *words, order=order),
        env={**os.environ, "XDG_STATE_HOME": str(state)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def lines(run: Execution) -> list[tuple[str, str | None]]:
    return [(line.level, line.message) for line in run.logs()]


def test_command_is_recorded_with_its_output(
    client: Client, server: Serving, tmp_path: Path
) -> None:
    done = run_command(server.url, "good", "sh", "-c", "echo out; echo err >&2", state=tmp_path)
    assert (done.returncode, done.stdout) == (0, "out\n")
    assert "err\n" in done.stderr
    assert f"{server.url}/ui/executions/good" in done.stderr
    run = client.executions.get("good")
    assert run.result is not None
    assert (run.status, run.result.output) == ("completed", {"exitCode": 0})
    assert {("info", "out"), ("warn", "err")} <= set(lines(run))
    assert run.metadata.model_extra == {"command": "sh -c echo out; echo err >&2"}


def test_exit_code_is_that_of_the_command(client: Client, server: Serving, tmp_path: Path) -> None:
    assert run_command(server.url, "bad", "sh", "-c", "exit 3", state=tmp_path).returncode == 3
    run = client.executions.get("bad")
    assert run.error is not None
    assert (run.status, run.error.code, run.error.message) == (
        "failed",
        "EXIT_3",
        "sh exited with 3",
    )


def test_command_that_is_ended_by_a_real_time_signal_fails_with_its_number(
    client: Client, server: Serving, tmp_path: Path
) -> None:
    done = run_command(server.url, "real-time", "sh", "-c", "kill -35 $$", state=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (128 + 35, False)
    error = client.executions.get("real-time").error
    assert error is not None
    assert error.code == "SIGNAL_35"


def test_run_ends_although_its_command_left_a_process_in_the_background(
    client: Client, server: Serving, tmp_path: Path
) -> None:
    done = run_command(server.url, "left", "sh", "-c", "sleep 300 & echo $!", state=tmp_path)
    os.kill(int(done.stdout), signal.SIGTERM)  # it is still running
    assert done.returncode == 0
    assert ("info", done.stdout.strip()) in lines(client.executions.get("left"))


@pytest.mark.parametrize(("kind", "code"), [("absent", 127), ("no program", 126)])
def test_command_that_cannot_be_started_fails_with_the_exit_code_of_shells(
    client: Client, server: Serving, tmp_path: Path, kind: str, code: int
) -> None:
    program = tmp_path / "program"
    if kind == "no program":
        program.write_text("")
    identity = kind.replace(" ", "-")
    assert run_command(server.url, identity, str(program), state=tmp_path).returncode == code
    run = client.executions.get(identity)
    assert run.error is not None
    assert run.error.code == "NOT_STARTED"


def test_signal_is_passed_on_and_the_execution_cancelled(
    client: Client, server: Serving, tmp_path: Path
) -> None:
    program = "import time; print('begun', flush=True); time.sleep(60)"
    with subprocess.Popen(
        command(server.url, "stopped", sys.executable, "-c", program),
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    assert client.executions.get("stopped").status == "cancelled"


def test_command_runs_while_the_service_is_unavailable(tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    done = run_command(away, "alone", "echo", "hello", state=tmp_path)
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "what was recorded waits" in done.stderr
    assert list(tmp_path.rglob("*.batch"))


def test_refusal_is_reported_and_the_command_runs(server: Serving, tmp_path: Path) -> None:
    done = run_command(server.url, "lost", "echo", "hello", state=tmp_path, order="no-such-order")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "Not recorded" in done.stderr
    assert "no-such-order" in done.stderr
    assert "/ui/executions/" not in done.stderr
