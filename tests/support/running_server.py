"""A real server on a port of its own, in a thread of the test process. The views follow in the same loop."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from base64 import b64encode
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx

from api.access.identity import Authenticator
from api.app import create_app
from api.cells.registry import LogRegistry
from api.database import Database
from api.embedded_postgres.data_dir import DataDir
from api.hosting.composition import hosting
from api.hosting.hosted_logs import HostedLogs
from api.hosting.preparation import Deployment
from api.server import Server, make_config, server_of
from api.settings import Settings
from api.system import System, build
from api.transport.connection_limits import ConnectionLimits
from api.transport.listen_socket import bind, listen
from api.work import run_workers
from api.work_task import task_of, work_for_others
from domain.eventlog.encryption import Vault
from domain.eventlog.migrations import settle_master_key
from domain.eventlog.setup.log_id import log_id
from domain.eventlog.setup.log_name import settle_log_name
from domain.eventlog.setup.log_secret import LogKeys
from domain.supervisor import run_parts
from projections.engine.runner import Runner
from projections.preparation import migrate
from tests.support.declared import require_declared
from tests.support.lean_transport import LeanTransport
from workers import access_anchors

access_anchors.EVERY = timedelta(days=1)
"""No anchor is recorded between the positions that tests count."""
T = TypeVar("T")
TOKEN = "the-token-of-the-tests"
MASTER_KEY = b"k" * 32
KEYS = LogKeys(MASTER_KEY, Vault(MASTER_KEY).secret_of_earlier_logs)
ATTEMPTS = 1_000_000
"""Calls that fail are no fault in most tests."""
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


def data_dir(conninfo: str, path: Path) -> DataDir:
    """A data directory with the master key of the server, on which the log is settled."""
    folder = DataDir.open(path)
    folder.master_key_file.write_bytes(b64encode(MASTER_KEY))
    folder.master_key_file.chmod(0o600)
    settle_master_key(conninfo, "executions", folder.master_key, folder.master_key)
    return folder


class Serving:
    """The running service: its URL, its parts, and how to stop it."""

    def __init__(
        self,
        conninfo: str,
        port: int = 0,
        data_dir: Path = Path(),
        access: Authenticator | None = None,
        calls: str = "",
        *,
        log_name: str | None = None,
        cells: str = "",
        standby: str | None = None,
        logs: Path | None = None,
        **more: Any,
    ) -> None:
        migrate(conninfo, "executions")
        self.conninfo = conninfo
        self._log_name = settle_log_name(conninfo, "executions", log_name)
        self._calls = calls
        self.log_id = log_id(conninfo, "executions")
        settings = Settings(
            data_dir=data_dir,
            port=port,
            webhook_allow="127.0.0.0/8",
            failed_attempts=ATTEMPTS,
            log=log_name,
            cells=cells,
            read_database_url=standby,
            logs=logs,
            **more,
        )
        self.settings = settings
        self.system: System = build(settings, conninfo, KEYS, TOKEN, self.log_id)
        if access is not None:
            self.system.admission.access = access
        self._socket = bind(settings)
        listen(self._socket, settings)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.limits = ConnectionLimits(1_000)
        self.hosted: HostedLogs | None = None
        self._server = self._made(log_name)
        self.runner: Runner
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def _made(self, log_name: str | None) -> Server:
        if self.settings.logs is None:
            config = make_config(*create_app(self.system), self.log_id, log_name=log_name)
            return server_of(config, self.system, self.limits)
        known = Database(self.conninfo, self.conninfo)
        deployment = Deployment(self.settings, known, TOKEN, MASTER_KEY)
        many, self.hosted = hosting(self.system, LogRegistry(self.settings.logs), deployment)
        config = make_config(many, many.direct, None)
        return server_of(config, self.system, self.limits, self.hosted.close)

    def client(self, log: str | None = None) -> httpx.Client:
        """A client of the administrator, of the log of the settings or of another one."""
        return httpx.Client(
            base_url=f"{self.url}/api" if log is None else f"{self.url}/logs/{log}/api",
            headers=AUTHORIZED,
            timeout=30,
            transport=LeanTransport(),
            event_hooks={"response": [require_declared]},
        )

    def start(self) -> None:
        """Return once requests are answered."""
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server has not started"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop as by a SIGTERM; returns once the server has ended."""
        self.ask_to_stop()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the server has not ended"

    def ask_to_stop(self) -> None:
        """Ask it to stop, as by a SIGTERM; returns at once."""
        self._loop.call_soon_threadsafe(self._server.handle_exit, signal.SIGTERM, None)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop of the server; its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        work = run_workers(self.conninfo, "executions", KEYS, self._calls, log_name=self._log_name)
        task = task_of(self.settings, self.conninfo, KEYS)
        async with work as self.runner, run_parts(work_for_others(task)):
            await self._server.serve(sockets=[self._socket])


@contextmanager
def serving(
    conninfo: str,
    port: int = 0,
    data_dir: Path = Path(),
    access: Authenticator | None = None,
    calls: str = "",
    *,
    log_name: str | None = None,
    cells: str = "",
    standby: str | None = None,
    logs: Path | None = None,
    **more: Any,
) -> Iterator[Serving]:
    """A server while the block runs; without `access` only the administrator has access. Its webhooks may also call the networks
    `calls`. `log_name` and `cells` are as in the settings; `standby` is where it may read, `logs` the file of other logs,
    and `more` are other settings.
    """
    made = Serving(
        *(conninfo, port, data_dir, access, calls),
        log_name=log_name,
        cells=cells,
        standby=standby,
        logs=logs,
        **more,
    )
    made.start()
    try:
        yield made
    finally:
        made.stop()
