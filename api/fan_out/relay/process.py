"""Runs the process that relays a log, until a signal or an error that it cannot recover from."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

import structlog
import uvloop
from prometheus_client import start_http_server

from api.fan_out.connection import NatsServers
from api.fan_out.keys import edge_key
from api.fan_out.relay.answers import RelayResponder
from api.fan_out.relay.publisher import Publisher
from api.fan_out.stream import NatsRetention
from api.fan_out.wire import Subjects
from api.settings import SetupError
from domain import registry
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.encryption import Vault, WrongKey
from domain.eventlog.keyring import Keyring
from domain.eventlog.keys.current import open_with_current_key
from domain.eventlog.keys.key_monitor import CHANGED, KeyMonitor
from domain.eventlog.keys.rotation import RotationUnderWay
from domain.eventlog.moving.log_location import MoveMonitor
from domain.eventlog.setup.log_id import log_id
from domain.eventlog.setup.log_secret import LogKeys
from domain.eventlog.store import Store
from domain.supervisor import run_parts

SECOND = 1.0
HEALTH_EVERY = 60.0
"""Seconds between two log lines about the state of the relay."""
CONNECTIONS = 4
MOVED = "the log has moved to another database: start the relay again, which finds it there"

log = structlog.get_logger()


class RelayTask(NamedTuple):
    """The log to be relayed, and its stream in NATS. `metrics` is the address and the port of the metrics."""

    conninfo: str
    schema: str
    keys: LogKeys
    log_name: str | None
    servers: NatsServers
    subjects: Subjects
    retention: NatsRetention
    begin_again: bool = False
    metrics: tuple[str, int] | None = None


def relay_until_stopped(task: RelayTask, every_second: Callable[[], object]) -> None:
    """Relay until SIGTERM or SIGINT, in the main thread; `every_second` is called once a second.

    Raises:
        SetupError: the stream in NATS is of another log, the log became another one, or has another master key.
    """
    if task.metrics is not None:
        address, port = task.metrics
        try:
            start_http_server(port, address)
        except OSError as error:
            raise SetupError(f"port {port} cannot be had for metrics: {error.strerror}") from None
    try:
        uvloop.run(_Relay(task).until_stopped(every_second))
    except (WrongKey, RotationUnderWay) as error:
        raise SetupError(error.detail) from None


class _Relay:
    """One run of a relay."""

    def __init__(self, task: RelayTask) -> None:
        keyring = Keyring(Vault(task.keys.master))
        self._store = Store(
            *(task.conninfo, task.schema, registry.codec(), keyring, CONNECTIONS),
            log_name=task.log_name,
        )
        of_edges = Vault(edge_key(task.keys.secret))
        self._stopped = asyncio.Event()
        self._refusal: SetupError | None = None
        self._answers = RelayResponder(task.servers, task.subjects, self._store, of_edges)
        self._publisher = Publisher(
            *(task.servers, task.subjects, task.retention, self._store, of_edges),
            conninfo=task.conninfo,
            of_log=log_id(task.conninfo, task.schema),
            begin_again=task.begin_again,
            on_refused=self._refuse,
        )
        self._key_monitor = KeyMonitor(self._store, lambda: self._refuse(SetupError(CHANGED)))
        self._listener = Listener(task.conninfo, task.schema)
        self._move_monitor = MoveMonitor(
            *(self._store, self._listener, task.conninfo),
            on_moved=lambda _: self._refuse(SetupError(MOVED)),
        )

    async def until_stopped(self, every_second: Callable[[], object]) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopped.set)
        watching = self._key_monitor, self._move_monitor, self._listener
        parts = self._answers, self._publisher, *watching
        async with open_with_current_key(self._store), run_parts(parts):
            logged_at = float("-inf")
            while not self._stopped.is_set():
                every_second()
                if monotonic() - logged_at >= HEALTH_EVERY:
                    logged_at = monotonic()
                    self._log_health()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), SECOND)
        if self._refusal is not None:
            raise self._refusal

    def _log_health(self) -> None:
        publisher = self._publisher
        if publisher.publishes:
            lag = max(0, publisher.head - publisher.position)
            log.info("relay health", state="publishes", position=publisher.position, lag=lag)
        else:
            log.info("relay health", state="stands by, or waits for NATS or the database")

    def _refuse(self, error: SetupError) -> None:
        self._refusal = error
        self._stopped.set()
