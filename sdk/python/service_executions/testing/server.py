"""A real service for a test: a process with a database of its own, whose files are deleted at the end."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
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

    It needs the distribution `executions` in the environment of this process.
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
            )
        self._wait_until_it_listens(self._process, log)
        return self

    def _wait_until_it_listens(self, process: subprocess.Popen[bytes], log: Path) -> None:
        end = time.monotonic() + STARTS_WITHIN
        while not (found := LISTENING.search(said := log.read_text())):
            if process.poll() is not None or time.monotonic() > end:
                self.__exit__(None, None, None)
                raise SetupError(f"the service does not start: {said[-2_000:]}")
            time.sleep(0.05)
        self.url = found[1]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(ENDS_WITHIN)
        shutil.rmtree(self._folder, ignore_errors=True)
