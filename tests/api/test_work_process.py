"""The work process: started, restarted and stopped with the server; it applies events to the views."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from api import work_process
from api.work_process import WorkProcess
from api.work_task import WorkTask
from tests.support.databases import reachable_folder
from tests.support.service_process import AUTHORIZED, Service, command_line, serving
from workers.ownership import WORK

SOON = 20
STARTED = (sys.executable, "-P", "-c", "from api.cli.main import main; main()")
LEAPING = """
import os, time
of_the_machine = time.time
time.time = lambda: of_the_machine() + (2 * 86_400 if os.path.exists({file!r}) else 0)
from api.cli.main import main
main()
"""
"""The program; the wall clock of its process leaps by two days once a file exists."""


@pytest.fixture(scope="module")
def service(module_database: str) -> Iterator[Service]:
    """A server that no test stops, started as users do, with a work process that is not forked."""
    with serving(module_database, program=STARTED) as running:
        yield running


def record_event(service: Service) -> int:
    """Record an event; return its position."""
    answer = httpx.post(
        f"{service.url}/users", json={"name": "Acme", "kind": "organization"}, headers=AUTHORIZED
    )
    assert answer.status_code == 201, answer.text
    return int(answer.headers["log-position"])


def status_of_list(service: Service, position: int, seconds: int = SOON) -> int:
    """The status of a list request with `minPosition`."""
    headers = {**AUTHORIZED, "Prefer": f"wait={seconds}"}
    url = f"{service.url}/users?minPosition={position}"
    return httpx.get(url, headers=headers, timeout=60).status_code


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + SOON
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def has_ended(process: int) -> bool:
    return not command_line(process)


def test_view_is_updated_by_the_work_process(service: Service) -> None:
    assert status_of_list(service, record_event(service)) == 200
    os.kill(service.work_process(), signal.SIGSTOP)
    try:
        position = record_event(service)
        assert status_of_list(service, position, seconds=1) == 504
        assert httpx.get(f"{service.url}/healthz").status_code == 200
    finally:
        os.kill(service.work_process(), signal.SIGCONT)
    assert status_of_list(service, position) == 200


def test_killed_work_process_is_started_again_and_misses_no_event(service: Service) -> None:
    for _ in range(2):
        killed = service.work_process()
        os.kill(killed, signal.SIGKILL)
        position = record_event(service)
        assert service.work_process(other_than=killed) != killed
        assert status_of_list(service, position) == 200
    assert "work process ended, and starts again" in service.log()


def test_work_process_ends_with_a_server_that_is_killed(service: Service) -> None:
    worker = service.work_process()
    service.kill()
    assert eventually(lambda: has_ended(worker))
    service.start()
    assert status_of_list(service, record_event(service)) == 200


def test_work_process_ends_in_order_with_its_server(process: Service) -> None:
    assert status_of_list(process, record_event(process)) == 200
    worker = process.work_process()
    assert process.terminate() == 0
    assert has_ended(worker)
    assert "starts again" not in process.log()
    assert "rror" not in process.log()


def test_confirmation_of_the_clock_reaches_the_work_process(database: str, tmp_path: Path) -> None:
    leap = tmp_path / "leap"
    program = (sys.executable, "-c", LEAPING.format(file=str(leap)))
    with serving(database, program=program) as service:
        record_event(service)
        before = service.work_process()
        leap.touch()
        confirm = f"{service.url}/clock/confirm"
        assert eventually(lambda: not service.ready())
        assert httpx.post(confirm, headers=AUTHORIZED).json()["leap"] == 2 * 86_400
        assert service.work_process(other_than=before) != before
        assert eventually(lambda: has_ended(before))
        assert status_of_list(service, record_event(service)) == 200


def test_diagnostic_log_of_the_work_process_is_that_of_the_server(service: Service) -> None:
    assert status_of_list(service, record_event(service)) == 200
    assert "views are followed by this process" in service.log()


def test_work_process_has_neither_secrets_nor_sockets_of_the_server(service: Service) -> None:
    worker = service.work_process()
    environment = Path(f"/proc/{worker}/environ").read_bytes()
    assert b"EXECUTIONS_" not in environment
    assert "host=" not in command_line(worker)
    ours = {socket for socket in sockets(service.pid) if socket in listening()}
    assert ours
    assert not ours & sockets(worker)


def sockets(process: int) -> set[str]:
    links = [str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir()]
    return {link.removeprefix("socket:[").rstrip("]") for link in links if "socket" in link}


def listening() -> set[str]:
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {row.split()[9] for row in rows if row.split()[3] == "0A"}


def test_view_is_taken_over_by_the_work_process_of_another_server(database: str) -> None:
    with serving(database) as one, reachable_folder() as folder:
        (folder / "master.key").write_bytes((one.data / "master.key").read_bytes())
        (folder / "master.key").chmod(0o600)
        assert status_of_list(one, record_event(one)) == 200
        other = Service(folder, database)
        other.start()
        try:
            assert status_of_list(other, record_event(one)) == 200
            one.kill()
            assert status_of_list(other, record_event(other)) == 200
        finally:
            other.close()


def without_owner(service: Service) -> list[str]:
    """The kinds of work without an owner, as readiness shows them."""
    found: list[str] = httpx.get(f"{service.url}/readyz").json().get("withoutOwner", [])
    return found


def test_views_of_a_server_without_work_are_updated_by_the_command_work(database: str) -> None:
    with reachable_folder() as folder:
        service = Service(folder, database, "--no-work")
        service.start()
        try:
            position = record_event(service)
            assert status_of_list(service, position, seconds=1) == 504
            assert without_owner(service) == list(WORK)
            with service.working() as worker:
                assert status_of_list(service, position) == 200
                assert eventually(lambda: not without_owner(service))
            assert worker.returncode == 0
            assert status_of_list(service, record_event(service), seconds=1) == 504
        finally:
            service.close()


def test_requested_restart_of_the_work_process_is_not_an_error() -> None:
    command = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
    with (
        capture_logs() as logged,
        WorkProcess(WorkTask("", "executions", "", "", "info"), command) as worker,
    ):
        before = worker._process
        assert before is not None
        worker.start_again()
        before.wait()
        while worker._process is before:  # after a pause, as it has just been started
            worker.ensure_running()
    assert [line["log_level"] for line in logged] == ["info"]


def test_work_process_that_keeps_failing_is_started_again_after_longer_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    started: list[float] = []
    monkeypatch.setattr(work_process, "monotonic", lambda: now)
    command = (sys.executable, "-S", "-c", "raise SystemExit(3)")
    with WorkProcess(WorkTask("", "executions", "", "", "info"), command) as worker:
        for _ in range(80):
            before = worker._process
            assert before is not None
            before.wait()
            worker.ensure_running()
            if worker._process is not before:
                started.append(now)
            now += 0.25  # it is checked four times a second
    intervals = [after - before for before, after in pairwise(started)]
    assert intervals == [1.25, 2.25, 4.25, 4.25, 4.25]
