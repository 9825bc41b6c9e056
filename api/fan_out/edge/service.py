"""Runs an edge, from the start to the signal that ends it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import NamedTuple

import structlog
from nats.js.errors import APIError

from api.access.open_requests import OpenRequests
from api.fan_out import stream
from api.fan_out.connection import AWAY, NatsServers, connection_to
from api.fan_out.edge.app import create_app
from api.fan_out.edge.link import Link
from api.fan_out.edge.opener import EdgeOpener
from api.fan_out.edge.origin import OriginServer
from api.fan_out.edge.readiness import Readiness
from api.fan_out.edge.relayed_log import RelayedLog
from api.fan_out.edge.tail import RelayedTail
from api.fan_out.keys import read_key
from api.fan_out.stream import NatsStream
from api.fan_out.wire import Subjects
from api.server import Server, make_config
from api.settings import Settings, SetupError, origins
from api.streaming.hub import Hub
from api.streaming.log.loader import Loader
from api.telemetry.logging import configure_logging
from api.transport import listen_socket
from api.transport.connection_limits import limits_of_process
from api.web.access.proxies import Proxies
from api.work_task import end_when_asked, relax_collector
from domain import registry
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.supervisor import Background, ProcessPart, Tasks
from projections.log_lines.tail import LinePage
from workers.outbound.addresses import networks

WAIT_FOR_NATS = 30.0
"""Seconds that the start waits for NATS and for the stream in it."""
PAUSE = 0.5

log = structlog.get_logger()


class NoLogLines:
    """The empty log lines of an edge, which refuses clients that ask for them before."""

    async def begin(self) -> None:
        """Do nothing, as there are no log lines."""

    async def read(self, wanted: Callable[[str], bool]) -> LinePage:
        return LinePage((), more=False)


class Succession(Background):
    """Calls `on_found` once the log has become another one and a relay publishes the new one. Until then the edge is not
    ready.
    """

    outages = (*AWAY, APIError)

    def __init__(self, hub: Hub, link: Link) -> None:
        self._hub = hub
        self._link = link
        self.on_found: Callable[[], object] = lambda: None

    def tasks(self) -> Tasks:
        return {"succession": self._run}

    async def _run(self) -> bool:
        while True:
            await asyncio.sleep(PAUSE)
            if self._hub.other is not None and await self._is_found():
                self.on_found()
                return True

    async def _is_found(self) -> bool:
        connection = await self._link.connection()
        nats_stream = await stream.find_stream(connection.client, self._link.subjects.stream)
        return nats_stream is not None and nats_stream.log != self._hub.of_log


class EdgeTask(NamedTuple):
    """The task of an edge: the servers of NATS, the stream, the server that authorizes requests, and the edge key."""

    settings: Settings
    servers: NatsServers
    subjects: Subjects
    origin: str
    key: Vault


def serve_from_nats(settings: Settings, servers: NatsServers, subjects: Subjects) -> None:
    """Send streams until a signal. Where the stream becomes that of another log, the edge begins again with that log.

    Raises:
        SetupError: a setting is missing, or NATS has no such stream.
    """
    if settings.server_url is None or settings.edge_key is None:
        raise SetupError(
            "an edge needs EXECUTIONS_SERVER_URL, the server that judges requests, and EXECUTIONS_EDGE_KEY, which "
            "`executions relay key` prints"
        )
    task = EdgeTask(settings, servers, subjects, settings.server_url, read_key(settings.edge_key))
    configure_logging(settings.log_level)
    end_when_asked()
    with listen_socket.bind(settings) as listening:
        relax_collector()
        before = ""
        while (
            before := _serve(task, listening, _find_stream(task, before), announce=not before)
        ) != "":
            log.warning("the stream is that of another log: the edge begins again")


def _serve(
    task: EdgeTask, listening: socket.socket, nats_stream: NatsStream, *, announce: bool
) -> str:
    """Serve one log until a signal, or until it is another; the id of what it was in that case."""
    settings = task.settings
    keyring = Keyring(task.key)
    link, open_requests = Link(task.servers, task.subjects, keyring), OpenRequests()
    tail, origin = RelayedTail(link, nats_stream.log), OriginServer(task.origin, nats_stream.log)
    source = RelayedLog(
        link, registry.codec(), keyring, log_name=nats_stream.name, position=lambda: tail.position
    )
    tail.past = source
    hub = Hub(tail, Loader(source), NoLogLines(), settings.stream_limit, nats_stream.log)
    keyring.on_destroyed.append(hub.forget_content)
    readiness = Readiness(hub, link, tail, origin, nats_stream.name)
    proxies = Proxies(networks(settings.trusted_proxies))
    opener = EdgeOpener(hub, origin, readiness, proxies, open_requests)
    tail.on_rows = opener.note
    succession = Succession(hub, link)
    parts: tuple[ProcessPart, ...] = (link, origin, readiness, succession, open_requests, hub)
    app = create_app(opener, origin, readiness, parts, origins(settings.allowed_origins))
    config = make_config(app, _NoFastPath(), nats_stream.log, log_name=nats_stream.name)
    server = Server(config, hub, limits_of_process(settings))
    hub.on_other_log = lambda: None
    succession.on_found = server.end_with_streams
    listen_socket.listen(listening, settings)
    if announce:
        print(f"Listening on {listen_socket.url(listening)}", flush=True)  # noqa: T201 - the terminal is its user
    server.run(sockets=[listening.dup()])
    return "" if server.asked_to_end or hub.other is None else nats_stream.log


class _NoFastPath:
    """The fast path of an edge, which no request takes, as an edge has no commands."""

    def find(self, *_: object) -> None:
        return None


def _find_stream(task: EdgeTask, other_than: str) -> NatsStream:
    """The stream, once there is one of another log than that.

    Raises:
        SetupError: there is no stream in time, or the edge key is not that of its log.
    """
    until = monotonic() + WAIT_FOR_NATS
    while True:
        reason = "it has no such stream: start `executions relay nats` first"
        try:
            nats_stream = asyncio.run(_look(task))
        except AWAY as error:
            nats_stream, reason = None, str(error) or type(error).__name__
        if nats_stream is not None and nats_stream.log != other_than:
            if nats_stream.key != task.key.id:
                raise SetupError(
                    "edge_key (EXECUTIONS_EDGE_KEY): it is not the key of this log; `executions relay key` prints that"
                )
            return nats_stream
        if not other_than and monotonic() > until:
            raise SetupError(
                f"NATS at {task.servers.shown}, stream {task.subjects.stream}: {reason}"
            )
        with suppress(InterruptedError):
            sleep(PAUSE)


async def _look(task: EdgeTask) -> NatsStream | None:
    async with connection_to(task.servers, "executions edge: start") as connection:
        return await stream.find_stream(connection.client, task.subjects.stream)
