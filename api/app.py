"""The composition root: makes the handlers, the operations and the ASGI application of a log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from api.dashboard import pages
from api.problems.refusals import refusal
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
)
from api.routes.access import grants, keys, sessions
from api.routes.access import log as access_log
from api.routes.audit import bundle, receipts, tree, verification
from api.routes.cells import events as events_of_cells
from api.routes.cells import executions as of_cells
from api.routes.cells.asking import Asking
from api.routes.engine import claims, inbox, jobs
from api.routes.exports import executions as exports
from api.routes.log_streams import LogLineStreams
from api.routes.retention import rows as retention
from api.routes.webhooks import rows as webhooks
from api.settings import origins
from api.system import System, running
from api.web.access.answer_headers import AnswerHeaders
from api.web.direct_commands import DirectCommands
from api.web.operation import Operation
from api.web.own_log import OwnLog
from api.web.reads.consistency import Consistency
from api.web.reads.entries import Entries
from api.web.reads.state_reader import StateReader
from api.web.routing import PREFIX, LiteralPathRouter, routes, with_prefix
from api.web.streams import websocket
from api.web.streams.event_stream import EventStreams
from api.web.streams.opening import LocalOpener
from domain.errors import NotFound
from projections.audit.reader import TreeReader
from projections.history_check import HistoryCheck


def operations(system: System) -> tuple[Operation, ...]:
    """All operations, in the order in which routes are tried: the most frequent first, and a literal segment before a
    parameter in its place.
    """
    consistency = Consistency(system.sources, system.positions, system.hub.of_log)
    reader = StateReader(system.history, consistency, system.clock)
    command_handlers, tree_reader = _commands(system), TreeReader(system.store)
    event_streams = EventStreams(system.stream_requests)
    catalog_handlers = _catalog(system, consistency)
    rows = (
        *commands.routes(command_handlers),
        *_retention(system, consistency),
        *claims.routes(claims.ClaimHandlers(system.dispatcher, system.bus, system.store)),
        *execution_lists.routes(_lists(system, consistency)),
        *exports.routes(_exports(system, consistency)),
        *analytics.routes(analytics.AnalyticsHandlers(system.analytics_queries, consistency)),
        *streams.routes(event_streams),
        *command_batch.routes(_batches(system)),
        *jobs.routes(_jobs(system, consistency, catalog_handlers)),
        *commands.update_routes(command_handlers),
        *_of_execution(system, reader, consistency, event_streams),
        *log_lines.routes(_log_lines(system, consistency)),
        *_audit(system, tree_reader, consistency),
        *catalog.routes(catalog_handlers),
        *_access(system, consistency),
        *inbox.routes(inbox.InboxHandlers(system.store, consistency)),
        *_cells(system),
        *health.routes(_health(system)),
    )
    rows = receipts.Receipts(tree_reader).covering(rows)
    return (*rows, *documents.routes(documents.DocumentHandlers(rows)))


def _cells(system: System) -> tuple[Operation, ...]:
    asking = Asking(system.directory, system.cells)
    streams_ = events_of_cells.CellStreamHandlers(asking, system.hub, system.clock)
    return (*of_cells.routes(of_cells.CellHandlers(asking)), *events_of_cells.routes(streams_))


def _of_execution(
    system: System, reader: StateReader, consistency: Consistency, event_streams: EventStreams
) -> tuple[Operation, ...]:
    return (
        *executions.routes(
            executions.ExecutionHandlers(reader, system.store, system.logs, consistency)
        ),
        *steps.routes(steps.StepHandlers(reader)),
        *_webhooks(system, reader, consistency),
        *history.routes(
            history.HistoryHandlers(
                system.history, reader, consistency, event_streams, system.admission.visibility
            )
        ),
    )


def _commands(system: System) -> commands.CommandHandlers:
    return commands.CommandHandlers(
        system.bus,
        system.store,
        system.history,
        system.webhooks.plans,
        directory=system.directory,
        clock=system.clock,
    )


def _lists(system: System, consistency: Consistency) -> execution_lists.ListHandlers:
    return execution_lists.ListHandlers(
        system.store, system.executions, system.past_lists, consistency, system.clock
    )


def _exports(system: System, consistency: Consistency) -> exports.ExportHandlers:
    return exports.ExportHandlers(
        system.store, system.sources, system.executions, consistency, system.clock
    )


def _batches(system: System) -> command_batch.BatchHandlers:
    return command_batch.BatchHandlers(
        system.bus,
        system.store,
        system.webhooks.plans,
        visibility=system.admission.visibility,
        directory=system.directory,
        clock=system.clock,
    )


def _webhooks(
    system: System, reader: StateReader, consistency: Consistency
) -> tuple[Operation, ...]:
    return webhooks.routes(
        system.bus,
        system.store,
        reader,
        consistency,
        system.admission.visibility,
        vetting=system.webhooks.plans.vetting,
        client=system.webhooks.client,
        new_id=system.directory.new_id,
        clock=system.clock,
    )


def _log_lines(system: System, consistency: Consistency) -> log_lines.LogLineHandlers:
    streams_ = LogLineStreams(
        system.hub,
        system.positions,
        system.log_stream,
        system.log_line_notifier,
        system.admission.visibility,
    )
    return log_lines.LogLineHandlers(system.bus, system.logs, system.store, consistency, streams_)


def _retention(system: System, consistency: Consistency) -> tuple[Operation, ...]:
    return retention.routes(
        system.bus,
        system.store,
        system.executions,
        system.catalog,
        consistency,
        log_days=system.settings.log_days,
        access_days=system.settings.access_log_days,
        new_id=system.directory.new_id,
        clock=system.clock,
    )


def _catalog(system: System, consistency: Consistency) -> catalog.CatalogHandlers:
    return catalog.CatalogHandlers(system.bus, _entries(system, consistency), system.directory)


def _entries(system: System, consistency: Consistency) -> Entries:
    return Entries(system.store, system.catalog, consistency, system.clock)


def _jobs(
    system: System, consistency: Consistency, entries: catalog.CatalogHandlers
) -> jobs.JobHandlers:
    return jobs.JobHandlers(
        system.bus,
        system.store,
        system.executions,
        consistency,
        entries,
        hub=system.hub,
        new_id=system.directory.new_id,
        clock=system.clock,
    )


def _audit(system: System, reader: TreeReader, consistency: Consistency) -> tuple[Operation, ...]:
    uncached = TreeReader(system.store, capacity=0)
    check = HistoryCheck(system.store, system.executions, uncached, system.signer.public_key)
    return (
        *verification.routes(verification.VerificationHandlers(check, reader, consistency)),
        *tree.routes(tree.TreeHandlers(reader, consistency)),
        *bundle.routes(bundle.BundleHandlers(system.store, reader, system.signer, consistency)),
    )


def _access(system: System, consistency: Consistency) -> Iterable[Operation]:
    bus, entries = system.bus, _entries(system, consistency)
    key_handlers = keys.KeyHandlers(bus, entries, system.admission.access.fingerprint)
    session_handlers = sessions.SessionHandlers(
        bus, system.admission, system.settings.session_hours
    )
    return (
        *sessions.routes(session_handlers),
        *grants.routes(grants.GrantHandlers(bus, entries, system.directory.new_id)),
        *keys.routes(key_handlers),
        *access_log.routes(
            access_log.AccessLogHandlers(system.store, system.admission.visibility, consistency)
        ),
    )


def _health(system: System) -> health.HealthHandlers:
    return health.HealthHandlers(
        system.bus,
        system.store,
        system.positions,
        system.progress,
        system.hub,
        dispatcher=system.dispatcher,
        clock=system.clock,
        standby=system.sources.standby,
        other=system.other,
        of_process=system.of_process,
        others=system.others,
    )


def create_app(system: System) -> tuple[ASGIApp, DirectCommands]:
    """Make the ASGI application of a log, each path with and without `/api`, and the fast path of its commands."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with running(system):
            yield

    rows = operations(system)
    router = LiteralPathRouter(
        [
            *routes(system.admission, system.common.bodies, rows),
            *pages.routes(),
            *websocket.routes(LocalOpener(system.admission, system.stream_requests), rows),
        ],
        redirect_slashes=False,
        default=_refuse_unknown_path,
        lifespan=lifespan,
    )

    allowed = origins(system.settings.allowed_origins)
    direct = DirectCommands(system.admission, system.bus, rows, PREFIX, foreign=bool(allowed))
    app = AnswerHeaders(with_prefix(router), allowed)
    if system.directory.own is not None:
        system.cells.answer_here(system.directory.own, OwnLog(app))
    return app, direct


async def _refuse_unknown_path(scope: Scope, receive: Receive, send: Send) -> None:
    error = NotFound("There is nothing at this path; /openapi.json lists what there is.")
    await refusal(error, scope)(scope, receive, send)
