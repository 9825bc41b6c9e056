"""The stand of the benchmarks: a PostgreSQL, its databases, and servers as processes of their own.

All files are in one temporary folder. At the end, also after errors, the processes are ended by their ids and the folder
is removed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.sql import SQL, Identifier

from api.embedded_postgres.cluster import Cluster
from api.embedded_postgres.server import EmbeddedPostgres

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
STARTS_WITHIN = 60.0
ENDS_WITHIN = 30.0
CONNECTIONS = {"max_connections": "400"}
"""The only PostgreSQL setting that differs from the product's: pgbench needs a connection for each client."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves HTTP on a local port."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        return self.process.pid


class Stand:
    """One PostgreSQL with default durability, and the processes that are started beside it."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres, stack: ExitStack) -> None:
        self.folder = folder
        self.token = secrets.token_urlsafe(24)
        self._postgres = postgres
        self._stack = stack
        self._made: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return an object that several sections share; the first call makes it."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made

    @property
    def postgres_pid(self) -> int:
        running = Cluster(self.folder / "postgres").postmaster()
        assert running is not None
        return running.pid

    def database(self, name: str) -> str:
        """Create an empty database; return its connection string."""
        with psycopg.connect(self._postgres.conninfo(), autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return self.conninfo(name)

    def conninfo(self, name: str) -> str:
        """Return the connection string of a database that was created before."""
        return self._postgres.conninfo(name)

    def checkpoint(self) -> None:
        """Write dirty pages to the disk, so that a measurement does not include the work of the previous one."""
        with psycopg.connect(self._postgres.conninfo(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def environment(self, conninfo: str, data_dir: str = "service") -> dict[str, str]:
        """Return the environment in which the programs of the service use this database."""
        given = {
            "DATA_DIR": str(self.folder / data_dir),
            "DATABASE_URL": conninfo,
            "ADMIN_TOKEN": self.token,
            "LOG_LEVEL": "warning",
            "WEBHOOK_ALLOW": "127.0.0.0/8",
        }
        return os.environ | _variables(given)

    def serve(
        self,
        conninfo: str,
        *options: str,
        checkout: Path | None = None,
        module: str | None = None,
        port: int | None = None,
        **settings: str,
    ) -> Server:
        """Start the service on a database, and wait until it is ready.

        `checkout` is another checkout, whose program is started in its own environment; `module` is a module that is
        started instead of the program. Settings are given without their prefix, such as `LOG`; a log with a name has a
        data directory of its own.
        """
        port = port or free_port()
        program = BIN if checkout is None else checkout / ".venv" / "bin"
        started = (
            (str(program / "executions"),)
            if module is None
            else (sys.executable, "-P", "-m", module)
        )
        command = (*started, "serve", "--port", str(port), *options)
        folder = settings.get("LOG", "service" if checkout is None else "beside")
        environment = self.environment(conninfo, folder) | _variables(settings)
        return self._start(command, port, "/readyz", environment, checkout or ROOT)

    def work(self, conninfo: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start a work process (`executions work`), with settings such as `AUDITOR_RATE`."""
        process = subprocess.Popen(
            (str(BIN / "executions"), "work"),
            env=self.environment(conninfo) | _variables(settings),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._stack.callback(end, process)
        return process

    def run(self, conninfo: str, *arguments: str) -> float:
        """Run a command of the program to its end; return the seconds that it took."""
        started = time.perf_counter()
        done = subprocess.run(
            [BIN / "executions", *arguments],
            env=self.environment(conninfo),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = f"{done.stdout[-1000:]}{done.stderr[-1000:]}"
            raise RuntimeError(f"executions {' '.join(arguments)}: {said}")
        return time.perf_counter() - started

    def echo(self, answer: bytes) -> Server:
        """Start the bare echo, which answers with this JSON."""
        file, port = self.folder / "answer.json", free_port()
        file.write_bytes(answer)
        command = (sys.executable, "-P", "-m", "bench.echo", str(port), str(file))
        return self._start(command, port, "/", dict(os.environ))

    def fanout(self) -> Server:
        """Start the bare fan-out."""
        port = free_port()
        command = (sys.executable, "-P", "-m", "bench.fanout", str(port))
        return self._start(command, port, "/", dict(os.environ))

    def stop(self, server: Server) -> None:
        """Stop a server before the end of the stand."""
        end(server.process)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End another process before the end of the stand."""
        end(process)

    def _start(
        self,
        command: Sequence[str],
        port: int,
        path: str,
        environment: dict[str, str],
        folder: Path = ROOT,
    ) -> Server:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the benchmark itself may print JSON
            start_new_session=True,  # so that Ctrl-C reaches only this process, which then ends the server
        )
        self._stack.callback(end, process)
        _wait_until_ready(process, port, path)
        return Server(process, port)


@contextmanager
def stand() -> Iterator[Stand]:
    """Yield a new stand, and remove it at the end."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o711)  # root's PostgreSQL runs as another user
        postgres = EmbeddedPostgres(folder / "postgres", settings=CONNECTIONS)
        stack.enter_context(postgres)
        try:
            yield Stand(folder, postgres, stack)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # the removal must not be interrupted


def _variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"EXECUTIONS_{name}": value for name, value in settings.items()}


def free_port() -> int:
    """Return a port that is free at present."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process, and kill it if it does not end in time."""
    process.terminate()
    try:
        process.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with suppress(OSError):
            if _answers(port, path):
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} is not ready after {STARTS_WITHIN:.0f} s")


def _answers(port: int, path: str) -> bool:
    """Whether the server answers with a status other than 5xx; the echo has no `/`, so 404 counts, too."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n".encode())
        return client.recv(12)[9:10] in (b"2", b"4")
