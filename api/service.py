"""The service: serves a log, from the start to the signal that ends it."""

from __future__ import annotations

import resource
import socket
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from time import monotonic, sleep
from typing import NamedTuple

import structlog

from api.database import Database, database, keep_running
from api.embedded_postgres.address_file import AddressFile, publish_address
from api.embedded_postgres.data_dir import DataDir
from api.embedded_postgres.server import EmbeddedPostgres
from api.hosting.composition import application
from api.hosting.preparation import Deployment
from api.log_keys import keys_of_log, require_key_of_log, settle_name
from api.server import make_config, server_of
from api.settings import Settings, SetupError, unknown
from api.system import build
from api.telemetry.logging import configure_logging
from api.transport import listen_socket
from api.transport.connection_limits import limits_of_process
from api.work_process import WorkProcess
from api.work_task import end_when_asked, relax_collector, task_of
from domain.errors import Overloaded
from domain.eventlog.setup.log_id import log_id
from domain.eventlog.setup.log_secret import LogKeys
from domain.outages import Outages
from projections.other_log import OtherLog

RETRY = 1.0
"""Seconds between two attempts to begin, or to begin again, while the database is unavailable."""
START_TIME = 30.0
"""Seconds that a start waits for an embedded PostgreSQL that another process has ended."""

log = structlog.get_logger()


def serve(settings: Settings, *, work: bool = True) -> None:
    """Serve until a signal, by default with a work process. Where the log becomes another one, or gets another master
    key, everything is made again and the log is served as it is then.

    Raises:
        SetupError: the service cannot start, or cannot begin again without the new master key.
    """
    configure_logging(settings.log_level)
    end_when_asked()
    for variable, near in unknown().items():
        log.warning("unknown setting", variable=variable, near=near)
    with listen_socket.bind(settings) as listening:
        folder = DataDir.open(settings.data_dir)
        token = settings.admin_token or folder.admin_token()
        with database(settings, folder) as known:
            _prepare(known, settings)
            settings, keys, of_log = _identify(known, settings, folder)
            served = Served(settings, folder, known, keys, of_log, listening, token)
            ended = served.until_ended(work=work)
            while ended.begins_again:
                served = served.prepare_again()
                ended = served.until_ended(ended.other, work=work)


def _prepare(known: Database, settings: Settings) -> None:
    """Prepare the log. Where another process that owned the embedded PostgreSQL ends meanwhile, this one starts it again.

    Raises:
        SetupError: the database is unavailable.
    """
    deadline = monotonic() + START_TIME
    while True:
        try:
            return known.prepare(settings.schema)
        except Overloaded as error:
            if known.postgres is None:
                raise SetupError(f"EXECUTIONS_DATABASE_URL: {error}") from None
            if monotonic() > deadline:
                raise SetupError(f"the embedded PostgreSQL: {error}") from None
        sleep(RETRY)
        keep_running(known.postgres)


def _identify(
    known: Database, settings: Settings, folder: DataDir
) -> tuple[Settings, LogKeys, str]:
    """Check the master key of a log; return the settings with the log's name, its keys and its id.

    Raises:
        SetupError: the master key or the name is another one.
        Overloaded: the database is unavailable.
    """
    require_key_of_log(known.serving, settings, folder)
    settings = settle_name(settings, known.serving)
    keys = keys_of_log(known.serving, settings, folder)
    return settings, keys, log_id(known.serving, settings.schema)


class ServiceEnded(NamedTuple):
    """Why the serving of a log has ended: the log became an `other` one, has another master key, or a signal came."""

    other: OtherLog | None
    other_key: bool
    by_signal: bool

    @property
    def begins_again(self) -> bool:
        """Whether the log is served again, as it is now."""
        return not self.by_signal and (self.other is not None or self.other_key)


class Served(NamedTuple):
    """A log with everything that is needed to serve it: settings, database, keys, its id, socket and token."""

    settings: Settings
    folder: DataDir
    known: Database
    keys: LogKeys
    log_id: str
    listening: socket.socket
    token: str

    def until_ended(self, other: OtherLog | None = None, *, work: bool) -> ServiceEnded:
        """Serve the log until a signal, or until it becomes another one. `other` is given where it has become another
        one before.
        """
        settings, known, keys, listening = self.settings, self.known, self.keys, self.listening
        others = known.as_named
        system = build(settings, known.serving, keys, self.token, self.log_id)
        system = replace(system, other=other)
        listen_socket.listen(listening, settings)
        task = task_of(settings, known.serving, keys, others[:2])
        with (
            publish_address(
                self.folder.address_file, listen_socket.url_from_here(listening)
            ) as address_file,
            WorkProcess(task) if work else nullcontext() as worker,
        ):
            if other is None:
                _announce(settings, self.folder, listening)
            if worker is not None:
                system.clock.confirmed = worker.start_again
                system.move_monitor.on_moved = worker.relocate
            relax_collector()
            _allow_many_connections()
            every_second = _each_second(known.postgres, address_file, worker, system.store.outages)
            made = application(system, Deployment(settings, others, self.token, keys.master))
            config = make_config(made.app, made.direct, made.of_log, every_second, made.log_name)
            # A copy, as uvicorn closes its sockets: clients that connect meanwhile wait, and are not refused.
            server = server_of(config, system, limits_of_process(settings), made.close_others)
            server.run(sockets=[listening.dup()])
        return ServiceEnded(system.hub.other, system.key_monitor.changed, server.asked_to_end)

    def prepare_again(self) -> Served:
        """Prepare the log as it is now, once its database answers, with the name that it has now.

        Raises:
            SetupError: the master key is missing, or is being changed.
        """
        while True:
            known = self.known.locate(self.settings.schema)
            try:
                known.prepare(self.settings.schema)
                settings, keys, of_log = _identify(known, self.settings, self.folder)
                return self._replace(known=known, settings=settings, keys=keys, log_id=of_log)
            except Overloaded as error:
                log.warning("the database is away", reason=str(error))
                sleep(RETRY)
                keep_running(self.known.postgres)


def _each_second(
    postgres: EmbeddedPostgres | None,
    address_file: AddressFile,
    worker: WorkProcess | None,
    outages: Outages,
) -> Callable[[], Awaitable[None]]:
    """Make the function that keeps the embedded PostgreSQL, the work process and the address file as they must be."""

    def ensure_database() -> None:
        if (full := keep_running(postgres)) is not None:
            outages.disk_is_full(full)

    checks = [address_file.publish, ensure_database]
    if worker is not None:
        checks.append(worker.ensure_running)

    async def every_second() -> None:
        for check in checks:
            try:
                check()
            except (
                OSError,
                MemoryError,
            ) as error:  # descriptors or memory may be available in a second
                log.error("a periodic check failed and will run again", reason=repr(error))

    return every_second


def _allow_many_connections() -> None:
    """Raise the limit of open files to the system's maximum, as each stream is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _announce(settings: Settings, folder: DataDir, listening: socket.socket) -> None:
    source = "EXECUTIONS_ADMIN_TOKEN" if settings.admin_token else str(folder.admin_token_file)
    print(f"Listening on {listen_socket.url(listening)}", flush=True)  # noqa: T201 - the terminal is its user
    print(f"The admin token is in {source}", flush=True)  # noqa: T201
