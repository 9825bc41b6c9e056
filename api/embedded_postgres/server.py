"""A private PostgreSQL server, which runs as a child of this process from the programs of a wheel.

    with EmbeddedPostgres(Path("data/postgres")) as postgres:
        connect(postgres.conninfo())

The first process to enter owns the server and stops it on exit; any other process that enters meanwhile attaches to
it. In whatever way the owner ends, its server ends with it. Then an attached process that calls `ensure_running`, or
the next process to enter, becomes the owner and starts a server with the data as of the last commit.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import hmac
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

import structlog

from api.embedded_postgres.cluster import (
    USER,
    Cluster,
    PostgresError,
    RunAs,
    conninfo,
)
from api.embedded_postgres.memory import usable_memory
from api.embedded_postgres.parameters import parameters
from api.embedded_postgres.processes import die_with_parent, is_postgres
from api.settings import environment_of_postgres

STILL_DYING = re.compile(
    r"pre-existing shared memory|FATAL: .*\block file .* (already exists|is empty)"
)
"""In the log of a server that cannot start yet, as backends of the last one are still ending."""
LONGEST_SOCKET_PATH = 100
"""Bytes of the path of a Unix socket, of which the kernel allows 107."""
LEAST_ROOM = 16 * 1024 * 1024
"""Free bytes below which the disk counts as full: a segment of the write-ahead log."""
SILENT = 2.0
"""Seconds that a start waits before it logs what it waits for."""

log = structlog.get_logger()


class EmbeddedPostgres:
    """PostgreSQL with its data in `root`, which listens only on a Unix socket in a private folder.

    `settings` are server parameters that override `parameters`. `bin_dir` is the folder of the programs of an installed
    server, which replace those of the wheel.
    """

    def __init__(
        self,
        root: Path,
        *,
        settings: Mapping[str, str] | None = None,
        bin_dir: Path | None = None,
        start_timeout: float = 900,
    ) -> None:
        self._cluster = Cluster(root.resolve(), bin_dir)
        self._settings = {**parameters(usable_memory()), **(settings or {})}
        self._start_timeout = start_timeout
        self._lock: IO[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._sockets: Path | None = None

    def __enter__(self) -> Self:
        # The kernel ends the server with the thread that has started it, so that must be the thread that ends with
        # the process.
        if threading.current_thread() is not threading.main_thread():
            raise PostgresError("PostgreSQL must be started by the main thread")
        self._cluster.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        deadline = time.monotonic() + self._start_timeout
        try:
            if self._own(deadline):
                self._start(deadline)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def owned(self) -> bool:
        """Whether this process owns the server, rather than being attached to that of another process."""
        return self._server is not None

    def ensure_running(self) -> bool:
        """Restart the server if it has ended, or take over from an owner that has ended. Only for the main thread.

        Return whether the server had ended. This does not wait until the new server has recovered; one that ends at
        once, as backends of the last one are still ending, is restarted by the next call.
        """
        if self._server is None and self._lock is None and not self._take_lock():
            return False
        if self._server is not None and self._server.poll() is None:
            return False
        former = self._cluster.postmaster()
        if former is None or not is_postgres(former.pid, self._cluster.data):
            self._spawn(*self._prepare(time.monotonic()))
        return True

    def look_after_disk(self) -> str | None:
        """Rotate the log of the server, and return what is wrong where the disk is full, else None. To be called often."""
        try:
            if self.owned:
                self._cluster.rotate_log()
            room = self._cluster.room()
        except OSError as error:
            return str(error) if error.errno == errno.ENOSPC else None
        return f"{room} bytes are left for {self._cluster.data}" if room < LEAST_ROOM else None

    def conninfo(self, database: str = "postgres", user: str = USER) -> str:
        """Return the connection string of libpq, with the password, of the owner of the database or of another user, whose
        password is `password(user)`.
        """
        server = self._cluster.postmaster()
        if server is None:
            raise PostgresError(f"PostgreSQL in {self._cluster.data} is not running")
        address = {"host": server.sockets, "port": server.port}
        return conninfo(**address, user=user, dbname=database, password=self.password(user))

    def password(self, user: str) -> str:
        """The password of a user; those of other users are derived from the owner's."""
        secret = self._cluster.password.read_text()
        return (
            secret if user == USER else hmac.digest(secret.encode(), user.encode(), "sha256").hex()
        )

    def _own(self, deadline: float) -> bool:
        reason = (
            f"another process holds {self._cluster.lock}, and no PostgreSQL answers in "
            f"{self._cluster.data}"
        )
        for _ in _until(deadline, reason):
            if self._take_lock():
                return True
            if self._answers():
                break
        return False

    def _take_lock(self) -> bool:
        """Try to become the owner, and return whether that succeeded. The kernel releases the lock in whatever way the
        owner ends.
        """
        # A private file: another user who can open it could hold the lock, so that no server would start.
        descriptor = os.open(self._cluster.lock, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.fchmod(descriptor, 0o600)
        lock = os.fdopen(descriptor, "a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _start(self, deadline: float) -> None:
        programs, run_as = self._prepare(deadline)
        reason = "a killed PostgreSQL does not end, or it is killed whenever it starts"
        for _ in _until(deadline, reason):
            logged = self._spawn(programs, run_as)
            if self._becomes_ready(deadline):
                return
            self._raise_unless_killed(logged)

    def _prepare(self, deadline: float) -> tuple[Path, RunAs]:
        cluster = self._cluster
        run_as = cluster.run_as()
        programs = cluster.programs(run_as)
        for _ in _until(deadline, f"another process writes to {cluster.root}"):
            if cluster.clear_unfinished():
                break
        self._wait_for_predecessor(deadline)
        cluster.init(programs, run_as)
        cluster.configure(self._parameters(run_as), run_as)
        return programs, run_as

    def _wait_for_predecessor(self, deadline: float) -> None:
        former = self._cluster.postmaster()
        if former is None:
            return
        for _ in _until(deadline, f"PostgreSQL {former.pid} does not stop"):
            if not is_postgres(former.pid, self._cluster.data):
                break
        self._cluster.clear_stale(former)

    def _parameters(self, run_as: RunAs) -> dict[str, str]:
        return {
            **self._settings,
            "port": "5432",
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_folder(run_as)),
            "unix_socket_permissions": "0700",
        }

    def _socket_folder(self, run_as: RunAs) -> Path:
        if len(os.fsencode(self._cluster.data / ".s.PGSQL.5432")) < LONGEST_SOCKET_PATH:
            return self._cluster.data
        # The same folder for every owner, so that attached processes can connect under the next one.
        name = hashlib.sha256(os.fsencode(self._cluster.data)).hexdigest()[:16]
        self._sockets = Path(tempfile.gettempdir()) / f"pg-{name}"
        run_as.make_private(self._sockets)
        return self._sockets

    def _spawn(self, programs: Path, run_as: RunAs) -> int:
        """Start the server; return where in the log its words begin."""
        descriptor = os.open(self._cluster.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            logged = log.tell()
            self._server = subprocess.Popen(
                [programs / "postgres", "-D", self._cluster.data],
                user=run_as.uid,
                group=run_as.gid,
                extra_groups=run_as.groups,
                cwd="/",
                env=environment_of_postgres(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509  # safe, as this process has no threads yet
            )
        return logged

    def _becomes_ready(self, deadline: float) -> bool:
        # Crash recovery may take minutes: wait for as long as the server runs.
        assert self._server is not None
        for _ in _until(deadline, "PostgreSQL is still recovering"):
            if self._answers(self._server.pid):
                break
            if self._server.poll() is not None:
                return False
        return True

    def _answers(self, pid: int | None = None) -> bool:
        server = self._cluster.postmaster()
        return server is not None and pid in (None, server.pid) and server.answers()

    def _raise_unless_killed(self, logged: int) -> None:
        """Raise PostgresError, unless the server was killed, or backends of a killed one are still ending."""
        ended = self._server and self._server.returncode
        with self._cluster.log.open("rb") as log:
            log.seek(logged)
            text = log.read().decode(errors="replace")
        if ended != -signal.SIGKILL and not STILL_DYING.search(text):
            raise PostgresError(
                f"PostgreSQL does not start, and ended with {ended}: {text[-2000:]}"
            )

    def _stop(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)  # disconnects the clients, writes a checkpoint
            try:
                self._server.wait(120)
            except subprocess.TimeoutExpired:
                self._server.send_signal(signal.SIGQUIT)
                self._server.wait()
            self._server = None
        if self._sockets is not None:
            with suppress(OSError):
                self._sockets.rmdir()
            self._sockets = None
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _until(deadline: float, reason: str) -> Iterator[None]:
    """Yield until `deadline`, then raise PostgresError with the reason for waiting; log the reason where it takes long."""
    silent_until = time.monotonic() + SILENT
    while True:
        yield
        if time.monotonic() > deadline:
            raise PostgresError(reason)
        if time.monotonic() > silent_until:
            silent_until = deadline
            log.warning("the start waits", reason=reason)
        time.sleep(0.02)
