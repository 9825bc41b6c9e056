"""What a measurement stands on: a PostgreSQL, databases, and servers as processes of their own.

All live in one temporary folder. Whatever happens, the processes are ended by their ids and the
folder is removed.
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
"""The one parameter that differs from the product's: pgbench takes a connection for each client."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that answers HTTP on a port of this machine."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        return self.process.pid


class Stand:
    """One PostgreSQL with default durability, and what is started beside it."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres, stack: ExitStack) -> None:
        self.folder = folder
        self.token = secrets.token_urlsafe(24)
        self._postgres = postgres
        self._stack = stack
        self._made: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several sections share: made by the first that needs it."""
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
        """Make an empty database; returns how to connect to it."""
        with psycopg.connect(self._postgres.conninfo(), autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return self.conninfo(name)

    def conninfo(self, name: str) -> str:
        """How to connect to a database made before."""
        return self._postgres.conninfo(name)

    def checkpoint(self) -> None:
        """Write out what is dirty, so that no measurement pays for the one before."""
        with psycopg.connect(self._postgres.conninfo(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def environment(self, conninfo: str, data_dir: str = "service") -> dict[str, str]:
        """What the service's programs need to find this database."""
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
        """Start the service on a database, and wait until it is ready; that of another `checkout`
        in its own environment, or a `module` in the place of the program. Settings are such as `LOG`: a log with a
        name has a data directory of its own.
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
        """Start a process that keeps the views, fires timers and calls webhooks, with settings such as
        `AUDITOR_RATE`.
        """
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
        """Run one of the service's programs to its end; how many seconds it took."""
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
        """Start the bare echo; it answers with this JSON."""
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
        """End a server before the end of everything."""
        end(server.process)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End another process before the end of everything."""
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
            stdout=subprocess.DEVNULL,  # ours may be JSON
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it
        )
        self._stack.callback(end, process)
        _wait_until_ready(process, port, path)
        return Server(process, port)


@contextmanager
def stand() -> Iterator[Stand]:
    """Set everything up, and clear it away."""
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
                signal.signal(number, signal.SIG_IGN)  # nothing interrupts the clearing away


def _variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"EXECUTIONS_{name}": value for name, value in settings.items()}


def free_port() -> int:
    """A port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and insist in the end."""
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
    """Whether it is up: anything but an error of the server counts, as the echo knows no `/`."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n".encode())
        return client.recv(12)[9:10] in (b"2", b"4")
