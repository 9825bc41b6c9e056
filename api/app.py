"""The composition root: everything is made and wired here, by hand."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.identity import Access
from api.clock import Clock, new_id
from api.problems.problems import Malformed
from api.routes import (
    analytics,
    catalog,
    command_batch,
    commands,
    documents,
    execution_lists,
    executions,
    health,
    history,
    log_lines,
    steps,
    streams,
    webhooks,
)
from api.routes.log_streams import LogLineStreams
from api.settings import Settings
from api.streaming.hub import Hub
from api.streaming.log.loader import StoreLoader
from api.streaming.log.tail import SharedTail
from api.web import headers as request_headers
from api.web.admission import refusal
from api.web.body import Bodies
from api.web.direct_commands import DirectCommands
from api.web.operation import Operation
from api.web.path_segments import parted
from api.web.reads.consistency import Consistency
from api.web.reads.state_reader import StateReader
from api.web.routing import routes
from api.web.streams import websocket
from api.web.streams.event_stream import EventStreams
from api.web.streams.stream_request import StreamRequests
from domain import registry
from domain.errors import NotFound
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.migrations import log_exists, migrate_log
from domain.eventlog.notifications import Listener
from domain.eventlog.store import Store
from domain.eventlog.tail import Tail
from domain.writer.command_bus import Bus
from projections.analytics.queries import AnalyticsQueries
from projections.catalog import Catalog
from projections.engine.migrations import migrate_projections
from projections.engine.position_tracker import PositionTracker
from projections.engine.rebuild_progress import Progress
from projections.executions.past import PastLists
from projections.executions.projection import Executions
from projections.history.time_travel import History
from projections.log_lines.news import LogLineNotifier
from projections.log_lines.reader import LogLinePages
from projections.log_lines.stream import LogLineReader
from projections.log_lines.tail import LogLineTail
from projections.registry import all_projections

PREFIX = "/api"


@dataclass(frozen=True, slots=True)
class System:
    """Everything that runs in the process that answers requests."""

    store: Store
    clock: Clock
    bus: Bus
    access: Access
    bodies: Bodies
    listener: Listener
    tail: Tail
    positions: PositionTracker
    hub: Hub
    stream_requests: StreamRequests
    history: History
    executions: Executions
    past_lists: PastLists
    analytics_queries: AnalyticsQueries
    catalog: Catalog
    logs: LogLinePages
    log_stream: LogLineReader
    log_news: LogLineNotifier
    progress: Progress


def has_log(conninfo: str, schema: str) -> bool:
    """Whether a server has ever made its tables there."""
    return log_exists(conninfo, schema)


def migrate(conninfo: str, schema: str, *, begin_again: bool = True) -> None:
    """Create what is missing in the database; safe to run at every start, by many at once.

    `begin_again`: see `migrate_projections`.
    """
    migrate_log(conninfo, schema)
    views = all_projections(registry.codec())
    migrate_projections(conninfo, schema, views, begin_again=begin_again)


def new_hub(store: Store, tail: Tail, limit: int, of_log: str = "") -> Hub:
    """The streaming engine over a store, which names the log where its id is given."""
    return Hub(SharedTail(tail, store), StoreLoader(store), LogLineTail(store), limit, of_log)


def build(
    settings: Settings, conninfo: str, master_key: bytes, admin_token: str, of_log: str
) -> System:
    """All parts, wired but not started. `of_log` is the id of the log."""
    codec, schema, keyring = registry.codec(), settings.schema, Keyring(Vault(master_key))
    store = Store(conninfo, schema, codec, keyring, settings.database_connections)
    listener = Listener(conninfo, schema)
    tail = Tail(store, listener, schema)
    hub = new_hub(store, tail, settings.stream_limit, of_log)
    executions_view, _, catalog_view, *_ = views = all_projections(codec)
    positions = PositionTracker(store, listener, schema)
    log_news = LogLineNotifier(store, lambda: positions.position("logs"))

    def lines_written() -> None:
        hub.logs.appended()
        log_news.appended()

    clock = Clock()
    return System(
        store=store,
        clock=clock,
        bus=_writer(store, clock, settings.queue_limit, lines_written),
        access=Access(admin_token),
        bodies=Bodies(),
        listener=listener,
        tail=tail,
        positions=positions,
        hub=hub,
        stream_requests=StreamRequests(hub, store),
        history=History(store),
        executions=executions_view,
        past_lists=PastLists(store),
        analytics_queries=AnalyticsQueries(),
        catalog=catalog_view,
        logs=LogLinePages(store),
        log_stream=LogLineReader(store),
        log_news=log_news,
        progress=Progress(store, [view.name for view in views]),
    )


def _writer(store: Store, clock: Clock, limit: int, lines_written: Callable[[], None]) -> Bus:
    return Bus(
        store,
        clock,
        new_id,
        random.random,
        limit,
        lines_written=lines_written,
        doubt=lambda: clock.doubt,
    )


@asynccontextmanager
async def running(system: System) -> AsyncIterator[None]:
    """The parts started, in order, and stopped in the opposite one."""
    await system.store.open()
    system.listener.start()
    system.tail.start()
    system.bus.start()
    system.positions.start()
    system.hub.start()
    system.log_news.start()
    try:
        yield
    finally:
        await system.log_news.stop()
        await system.hub.stop()
        await system.bus.stop()
        await system.positions.stop()
        await system.tail.stop()
        await system.listener.stop()
        await system.store.close()


def operations(system: System) -> tuple[Operation, ...]:
    """All rows. Routes are tried in this order: the most frequent first, and a literal segment before
    a parameter in its place.
    """
    consistency = Consistency(system.store, system.positions)
    reader = StateReader(system.history, consistency, system.clock)
    command_handlers = commands.CommandHandlers(
        system.bus, system.store, system.history, new_id=new_id, clock=system.clock
    )
    event_streams = EventStreams(system.stream_requests)
    rows = (
        *commands.routes(command_handlers),
        *execution_lists.routes(_lists(system, consistency)),
        *analytics.routes(
            analytics.AnalyticsHandlers(system.store, system.analytics_queries, consistency)
        ),
        *streams.routes(event_streams),
        *command_batch.routes(_batches(system)),
        *commands.update_routes(command_handlers),
        *executions.routes(
            executions.ExecutionHandlers(reader, system.store, system.logs, consistency)
        ),
        *steps.routes(steps.StepHandlers(reader)),
        *webhooks.routes(webhooks.WebhookHandlers(reader, system.store)),
        *history.routes(
            history.HistoryHandlers(system.history, reader, consistency, event_streams)
        ),
        *log_lines.routes(_log_lines(system, consistency)),
        *catalog.routes(_catalog(system, consistency)),
        *health.routes(_health(system)),
    )
    return (*rows, *documents.routes(documents.DocumentHandlers(rows)))


def _lists(system: System, consistency: Consistency) -> execution_lists.ListHandlers:
    return execution_lists.ListHandlers(
        system.store, system.executions, system.past_lists, consistency, system.clock
    )


def _batches(system: System) -> command_batch.BatchHandlers:
    return command_batch.BatchHandlers(system.bus, system.store, new_id=new_id, clock=system.clock)


def _log_lines(system: System, consistency: Consistency) -> log_lines.LogLineHandlers:
    streams_ = LogLineStreams(system.hub, system.positions, system.log_stream, system.log_news)
    return log_lines.LogLineHandlers(system.bus, system.logs, system.store, consistency, streams_)


def _catalog(system: System, consistency: Consistency) -> catalog.CatalogHandlers:
    return catalog.CatalogHandlers(system.bus, system.store, system.catalog, consistency, new_id)


def _health(system: System) -> health.HealthHandlers:
    return health.HealthHandlers(
        system.bus,
        system.store,
        system.positions,
        system.progress,
        system.hub,
        clock=system.clock,
    )


def create_app(system: System) -> tuple[ASGIApp, DirectCommands]:
    """The service as an ASGI application, each path with and without `/api`; and those of its commands
    that may be answered without it.
    """

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with running(system):
            yield

    rows = operations(system)
    router = Router(
        [
            *routes(system.access, system.bodies, rows),
            *websocket.routes(system.access, system.stream_requests, rows),
        ],
        redirect_slashes=False,
        default=_unknown,
        lifespan=lifespan,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            try:
                scope["state"]["headers"] = request_headers.read(scope)
            except Malformed as error:
                await refusal(error, scope)(scope, receive, send)
                return
            if b"%" in scope["raw_path"]:
                scope["path"] = parted(scope["raw_path"])
            if scope["path"].startswith(PREFIX + "/"):
                scope["root_path"] = PREFIX
        await router(scope, receive, send)

    return app, DirectCommands(system.access, system.bus, rows, PREFIX)


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    error = NotFound("There is nothing at this path; /openapi.json lists what there is.")
    await refusal(error, scope)(scope, receive, send)
