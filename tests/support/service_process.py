"""The service as its users run it: a process of its own, with its own PostgreSQL, which may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import orjson
import psycopg

from api.embedded_postgres.cluster import Cluster
from api.embedded_postgres.server import EmbeddedPostgres
from domain.eventlog.codec import EventRow
from domain.eventlog.queries import IN_ORDER, SPAN
from domain.eventlog.sessions import session_options
from tests.support.databases import reachable_folder
from tests.support.forked_children import WORK
from tests.support.forked_program import ForkedProgram, run_forked
from tests.support.paths import ROOT
from tests.support.ports import free_port

TOKEN = "the-token-of-the-tests"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
PROGRAM = (sys.executable, "-c", "from api.cli.main import main; main()")
START = 60
LONGEST_COMMAND = 300


class Service:
    """`executions serve` in a data directory, on a fixed port."""

    def __init__(
        self,
        data: Path,
        database: str | None = None,
        *options: str,
        descriptors: int | None = None,
        program: Sequence[str] = PROGRAM,
        **settings: str,
    ) -> None:
        self.data = data
        self._program = program
        self._options = options
        self._descriptors = descriptors
        self._database = database
        self.log_file = data / "serve.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        ours = {name: value for name, value in os.environ.items() if "EXECUTIONS_" not in name}
        self.environment = {
            **ours,
            "EXECUTIONS_ADMIN_TOKEN": TOKEN,
            "EXECUTIONS_WEBHOOK_ALLOW": "127.0.0.0/8",  # the network of the receivers of tests
            **settings,
        }
        if database is not None:
            self.environment["EXECUTIONS_DATABASE_URL"] = database
        self._process: ForkedProgram | subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, seconds: float = START) -> None:
        """Return once it is ready."""
        where = ("--port", str(self.port), "--data-dir", str(self.data), *self._options)
        self._process = self._started("serve", *where)
        self.wait_until_ready(seconds)

    def _started(self, *arguments: str) -> ForkedProgram | subprocess.Popen[bytes]:
        if self._program == PROGRAM:
            return ForkedProgram(
                arguments, self.environment, self.log_file, descriptors=self._descriptors
            )
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [*self._program, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    @contextmanager
    def working(self) -> Iterator[ForkedProgram | subprocess.Popen[bytes]]:
        """`executions work` for the same log, while the block runs."""
        process = self._started("work", "--data-dir", str(self.data))
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def bring_back(self, seconds: float) -> None:
        """Return once it is ready: by itself, or, if it has ended, restarted."""
        end = time.monotonic() + seconds
        while not self.ready():
            assert time.monotonic() < end, self.log()
            if self._process is None or self._process.poll() is not None:
                self.start(seconds)
            time.sleep(0.05)

    def wait_until_ready(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.ready():
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        return False

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Ask it to end; its exit code."""
        return self._end(signal.SIGTERM)

    def ended(self, seconds: float) -> int:
        """Wait until it has ended by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(60)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.terminate()

    def log(self) -> str:
        return self.log_file.read_text()

    def events(self) -> list[EventRow]:
        """The whole log, read from the database."""
        with psycopg.connect(self.conninfo, options=session_options("executions")) as connection:
            query = (SPAN + IN_ORDER).encode()
            cursor = connection.execute(query, (0, 10_000_000), binary=True)
            return [EventRow(*row) for row in cursor.fetchall()]

    @property
    def conninfo(self) -> str:
        return self._database or EmbeddedPostgres(self.data / "postgres").conninfo()

    def verify(self) -> subprocess.CompletedProcess[str]:
        """`executions verify`: compares the log with all data derived from it."""
        return self.run("verify")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another command, in the same data directory."""
        arguments = [*command, "--data-dir", str(self.data)]
        return run_forked(arguments, self.environment, LONGEST_COMMAND)

    def postgres(self) -> list[int]:
        """The processes of its PostgreSQL, the postmaster first."""
        postmaster = Cluster(self.data / "postgres").postmaster()
        assert postmaster is not None
        return [postmaster.pid, *children(postmaster.pid)]

    def work_process(self, *, other_than: int = 0, seconds: float = START) -> int:
        """The process in which its views follow the log, once there is one."""
        end = time.monotonic() + seconds
        while True:
            for child in children(self.pid):
                if child != other_than and is_work_process(child):
                    return child
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def memory(self) -> int:
        """Its resident memory in MiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) // 1024
        raise LookupError("VmRSS")


def children(parent: int) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(folder.name)


def is_work_process(process: int) -> bool:
    """Whether it is a work process, started as a program or forked."""
    with suppress(OSError):
        forked = Path(f"/proc/{process}/comm").read_text().strip() == WORK
        return forked or "api.work_process" in command_line(process)
    return False


def command_line(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def correlation(row: EventRow) -> str | None:
    label: str | None = orjson.loads(row.meta).get("correlation")
    return label


@contextmanager
def serving(
    database: str | None = None,
    descriptors: int | None = None,
    program: Sequence[str] = PROGRAM,
    **settings: str,
) -> Iterator[Service]:
    with reachable_folder() as folder:
        service = Service(folder, database, descriptors=descriptors, program=program, **settings)
        service.start()
        try:
            yield service
        finally:
            service.close()
