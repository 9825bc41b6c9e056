"""A real service for a test: a process with a database of its own, whose files are deleted at the end."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

from service_executions._async.client import AsyncClient
from service_executions._sync.client import Client
from service_executions.errors import SetupError

PROGRAM = (sys.executable, "-c", "from api.cli.main import main; main()")
LISTENING = re.compile(r"^Listening on (\S+)$", re.MULTILINE)
STARTS_WITHIN, ENDS_WITHIN = 60.0, 30.0
ROOT = 0


class Server:
    """A service that runs inside a `with` block, with its `url`, its `token`, and clients of it.

    It needs the distribution `executions` in the environment of this process. One that does not end within 30 seconds is
    killed, and a `RuntimeWarning` says so.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def client(self) -> Client:
        """Return a client with the administrator's token."""
        return Client(self.url, self.token)

    def async_client(self) -> AsyncClient:
        """Return an asynchronous client with the administrator's token."""
        return AsyncClient(self.url, self.token)

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="executions-"))
        if os.geteuid() == ROOT:
            self._folder.chmod(0o711)  # its PostgreSQL then runs as another user
        others = {name: value for name, value in os.environ.items() if "EXECUTIONS_" not in name}
        log = self._folder / "serve.log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [*PROGRAM, "serve", "--port", "0", "--data-dir", str(self._folder)],
                env={**others, "EXECUTIONS_ADMIN_TOKEN": self.token},
                stdout=file,
                stderr=file,
                process_group=0,  # of its own, so that it can be killed whole
            )
        try:
            self._wait_until_it_listens(self._process, log)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _wait_until_it_listens(self, process: subprocess.Popen[bytes], log: Path) -> None:
        end = time.monotonic() + STARTS_WITHIN
        while not (found := LISTENING.search(said := log.read_text())):
            if process.poll() is not None:
                raise SetupError(f"the service has ended: {said[-2_000:]}")
            if time.monotonic() > end:
                within = f"within {STARTS_WITHIN:.0f} s"
                raise SetupError(f"the service did not start {within}: {said[-2_000:]}")
            time.sleep(0.05)
        self.url = found[1]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            ended = self._process is None or _end(self._process)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        if not ended:
            said = f"the service did not end within {ENDS_WITHIN:.0f} s, and was killed"
            warnings.warn(said, RuntimeWarning, stacklevel=2)


def _end(process: subprocess.Popen[bytes]) -> bool:
    """End a process; False where it had to be killed, with all that is in its group."""
    process.terminate()
    try:
        process.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return True
