"""Programs that record can be tested with a server of their own."""

from __future__ import annotations

import fcntl
import signal
import sys
import time
from pathlib import Path

import pytest

from service_executions.testing import Server
from service_executions.testing import server as servers

DEAF = """
import fcntl, os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    lock = open(sys.argv[1], "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("Listening on http://127.0.0.1:9", flush=True)
while True:
    signal.pause()
"""
"""A service that ignores the request to end, as does its child that holds a lock."""


def test_server_for_tests_is_a_real_service() -> None:
    with Server() as server, server.client() as client:
        client.users.create("acme", name="Acme", kind="organization")
        client.services.create("s", name="S", provider="acme")
        client.orders.create("o", service="s", customer="acme")
        with client.track(order="o", service="s") as run:
            pass
        assert client.executions.get(run.id).status == "completed"
        folder = server._folder
    assert not folder.exists()


def test_server_that_does_not_end_is_killed_with_its_children_and_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"
    monkeypatch.setattr(servers, "PROGRAM", (sys.executable, "-c", DEAF, str(lock)))
    monkeypatch.setattr(servers, "ENDS_WITHIN", 0.1)
    with pytest.warns(RuntimeWarning, match="was killed"), Server() as server:
        process = server._process
    assert process is not None
    assert process.returncode == -signal.SIGKILL
    assert not server._folder.exists()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)


def test_interrupted_start_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "PROGRAM", (sys.executable, "-c", "import time; time.sleep(99)"))
    sleep = time.sleep

    def interrupt(_: float) -> None:
        monkeypatch.setattr(time, "sleep", sleep)
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    server = Server()
    with pytest.raises(KeyboardInterrupt):
        server.__enter__()
    assert server._process is not None
    assert server._process.returncode == -signal.SIGTERM
    assert not server._folder.exists()
