"""Makes the application of a deployment, and the parts of each hosted log when they are needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from starlette.types import ASGIApp

from api.app import create_app
from api.cells.registry import LogLocation, LogRegistry
from api.hosting.hosted_logs import HostedLogs
from api.hosting.many_logs import ManyLogs
from api.hosting.opened_log import Parts
from api.hosting.preparation import Deployment, Prepared, prepare
from api.ready_logs import Preparation
from api.settings import SetupError
from api.system import Common, System, build, running
from api.transport.direct import DirectPath
from domain.eventlog.connection.shared import SharedDatabase, SharedDatabases

AT_ONCE = 16
"""Logs that are prepared at the same time."""


class LogOpener:
    """Opens the logs of a deployment."""

    def __init__(self, deployment: Deployment, common: Common) -> None:
        self._deployment = deployment
        self._common = common
        self._databases = SharedDatabases(deployment.settings.database_connections)
        self._prepared: dict[str, tuple[LogLocation, Prepared]] = {}
        self._preparation = Preparation(partial(prepare, deployment), AT_ONCE)

    @asynccontextmanager
    async def open(self, name: str, location: LogLocation) -> AsyncIterator[Parts]:
        """Run the parts of a log while the block runs. The preparation is cached, so that the log opens faster later.

        Raises:
            DomainError: the database of the log is unavailable, or the log has another master key.
            SetupError: the log has another name.
        """
        cached_location, ready = self._prepared.pop(name, (None, None))
        if ready is None or cached_location != location:
            ready = await self._preparation.of(name, location)
        async with self._databases.of(ready.conninfo) as shared:
            system = self._build(ready, shared)
            async with running(system):
                yield parts_of(system)
        if not (system.hub.other or system.key_monitor.changed or system.move_monitor.moved):
            self._prepared[name] = location, ready

    def _build(self, ready: Prepared, shared: SharedDatabase) -> System:
        given = ready.settings, ready.conninfo, ready.keys, self._deployment.token, ready.of_log
        return build(*given, common=self._common._replace(database=shared))


def parts_of(system: System) -> Parts:
    """Make the parts that answer the requests of a log.

    Raises:
        SetupError: the log has no name.
    """
    app, direct = create_app(system)
    return Parts(_name_of(system), system, app, direct, headers_of(system))


def headers_of(system: System) -> tuple[tuple[bytes, bytes], ...]:
    """The headers with the id and the name of a log, which every answer has."""
    named = {b"log-id": system.hub.of_log, b"log-name": _name_of(system)}
    return tuple((header, value.encode()) for header, value in named.items())


class Application(NamedTuple):
    """The ASGI application and its fast path; the id and the name of the log, if it is the only one; and the function that
    closes hosted logs.
    """

    app: ASGIApp
    direct: DirectPath
    of_log: str | None = None
    log_name: str | None = None
    close_others: Callable[[], object] = lambda: None


def application(system: System, deployment: Deployment) -> Application:
    """Make the application of the log of the settings, and of all hosted logs, if there is a file of them.

    Raises:
        SetupError: the log of the settings has no name, which hosted logs require, or the file is not valid.
    """
    settings = deployment.settings
    if settings.logs is None:
        return Application(*create_app(system), system.hub.of_log, settings.log)
    many, hosted = hosting(system, LogRegistry(settings.logs), deployment)
    return Application(many, many.direct, close_others=hosted.close)


def hosting(
    system: System, registry: LogRegistry, deployment: Deployment
) -> tuple[ManyLogs, HostedLogs]:
    """Make the application of the log of the settings and the hosted logs of a registry. Return both.

    Raises:
        SetupError: as in `application`.
    """
    hosted = HostedLogs(registry, LogOpener(deployment, system.common).open)
    hosted.read()
    own = parts_of(replace(system, others=lambda: hosted.state))
    return ManyLogs(own, hosted), hosted


def _name_of(system: System) -> str:
    if system.settings.log is None:
        raise SetupError(
            "EXECUTIONS_LOGS: where several logs are served each has a name, this one, too: set EXECUTIONS_LOG"
        )
    return system.settings.log
