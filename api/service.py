"""The service: a log that is served, from the start to the signal that ends it."""

from __future__ import annotations

import resource
import socket
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from time import sleep
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
from domain.outages import Outages
from projections.other_log import OtherLog

RETRY = 1.0
"""Seconds between two tries to begin again with another log."""

log = structlog.get_logger()


def serve(settings: Settings, *, work: bool = True) -> None:
    """Run until a signal ends it, with a process beside that does the work, where `work` says so. Where the log
    becomes another one, or gets another master key, all that was known of it is dropped, and it is served as it is
    then.

    Raises:
        SetupError: it cannot start, or go on: its master key is not at hand.
    """
    configure_logging(settings.log_level)
    end_when_asked()
    for variable, near in unknown().items():
        log.warning("unknown setting", variable=variable, near=near)
    with listen_socket.bind(settings) as listening:
        folder = DataDir.open(settings.data_dir)
        token = settings.admin_token or folder.admin_token()
        with database(settings, folder) as known:
            try:
                known.prepare(settings.schema)
            except Overloaded as error:
                raise SetupError(f"EXECUTIONS_DATABASE_URL: {error}") from None
            require_key_of_log(known.serving, settings, folder)
            served = Served(settle_name(settings, known.serving), folder, known, listening, token)
            ended = served.until_ended(work=work)
            while ended.begins_again:
                served = served.prepare_again()
                ended = served.until_ended(ended.other, work=work)


class ServiceEnded(NamedTuple):
    """Why a log is not served any more: it became an `other` one, it has another master key, or a signal came."""

    other: OtherLog | None
    other_key: bool
    by_signal: bool

    @property
    def begins_again(self) -> bool:
        """Whether it is to be served as it is now."""
        return not self.by_signal and (self.other is not None or self.other_key)


class Served(NamedTuple):
    """A log that is served: its settings, its database, and where the server listens."""

    settings: Settings
    folder: DataDir
    known: Database
    listening: socket.socket
    token: str

    def until_ended(self, other: OtherLog | None = None, *, work: bool) -> ServiceEnded:
        """Serve the log until a signal, or until it is not the same any more; the `other` one where it has become
        that before.
        """
        settings, known, listening = self.settings, self.known, self.listening
        others = known.as_named
        keys = keys_of_log(known.serving, settings, self.folder)
        of_log = log_id(known.serving, settings.schema)
        system = replace(build(settings, known.serving, keys, self.token, of_log), other=other)
        listen_socket.listen(listening, settings)
        task = task_of(settings, known.serving, keys, others[:2])
        with (
            publish_address(
                self.folder.address_file, listen_socket.url_from_here(listening)
            ) as sign,
            WorkProcess(task) if work else nullcontext() as worker,
        ):
            if other is None:
                _announce(settings, self.folder, listening)
            if worker is not None:
                system.clock.confirmed = worker.start_again
                system.move_monitor.on_moved = worker.relocate
            relax_collector()
            _allow_many_connections()
            every_second = _each_second(known.postgres, sign, worker, system.store.outages)
            made = application(system, Deployment(settings, others, self.token, keys.master))
            config = make_config(made.app, made.direct, made.of_log, every_second, made.log_name)
            # A copy, as uvicorn closes its sockets: who connects meanwhile waits, and is not refused.
            server = server_of(config, system, limits_of_process(settings), made.close_others)
            server.run(sockets=[listening.dup()])
        return ServiceEnded(system.hub.other, system.key_monitor.changed, server.asked_to_end)

    def prepare_again(self) -> Served:
        """Make what is missing in the other log, once its database answers, and serve it by the name that it has.

        Raises:
            SetupError: its master key is not at hand, or is being changed.
        """
        while True:
            known = self.known.locate(self.settings.schema)
            try:
                known.prepare(self.settings.schema)
                require_key_of_log(known.serving, self.settings, self.folder)
                return self._replace(
                    known=known, settings=settle_name(self.settings, known.serving)
                )
            except Overloaded as error:
                log.warning("the database is away", reason=str(error))
                sleep(RETRY)


def _each_second(
    postgres: EmbeddedPostgres | None,
    sign: AddressFile,
    worker: WorkProcess | None,
    outages: Outages,
) -> Callable[[], Awaitable[None]]:
    """What keeps our own PostgreSQL running, and the work process.

    And what takes over from another server of the data directory that shows where it is.
    """

    def look_after_database() -> None:
        if (full := keep_running(postgres)) is not None:
            outages.disk_is_full(full)

    duties = [sign.publish, look_after_database]
    if worker is not None:
        duties.append(worker.ensure_running)

    async def every_second() -> None:
        for duty in duties:
            try:
                duty()
            except (OSError, MemoryError) as error:  # perhaps there is enough of them in a second
                log.error("what the server looks after has to wait", reason=repr(error))

    return every_second


def _allow_many_connections() -> None:
    """As many open files as the system grants: each stream is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _announce(settings: Settings, folder: DataDir, listening: socket.socket) -> None:
    kept = "EXECUTIONS_ADMIN_TOKEN" if settings.admin_token else str(folder.admin_token_file)
    print(f"Listening on {listen_socket.url(listening)}", flush=True)  # noqa: T201 - the terminal is its user
    print(f"The admin token is in {kept}", flush=True)  # noqa: T201
