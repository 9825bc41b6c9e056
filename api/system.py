"""Makes and connects the parts of the process that answers requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from api.access.changes import AccessChanges
from api.access.failed_attempts import FailedAttempts
from api.access.grants import Grants
from api.cells.client import CellClient
from api.cells.directory import Directory
from api.cells.registry import HostedState
from api.claiming.dispatcher import ClaimDispatcher
from api.clock import Clock, chance
from api.settings import Settings, cells
from api.streaming.hub import Hub
from api.streaming.log.loader import Loader
from api.streaming.log.stored_log import StoredLog
from api.streaming.log.tail import Tail
from api.web.access.admission_control import new_access, new_admission
from api.web.admission import AdmissionControl
from api.web.body import Bodies
from api.web.input.webhook_plans import WebhookParts
from api.web.streams.stream_request import StreamRequests
from domain import registry
from domain.eventlog.access.access_log import AccessLog
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.connection.shared import SharedDatabase
from domain.eventlog.connection.shared_listener import POLL, SharedListener
from domain.eventlog.connection.standby import Standby
from domain.eventlog.connection.standby_store import StandbyStore
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.keys.current import open_with_current_key
from domain.eventlog.keys.destroyed import DestroyedKeys
from domain.eventlog.keys.key_monitor import KeyMonitor
from domain.eventlog.moving.log_location import MoveMonitor, relocate_listener
from domain.eventlog.setup.log_secret import LogKeys
from domain.eventlog.store import Store
from domain.supervisor import ProcessPart, run_parts
from domain.writer.command_bus import Bus
from projections.analytics.queries import AnalyticsQueries
from projections.audit.note import Signer, origin_of
from projections.catalog import Catalog
from projections.engine.position_tracker import PositionTracker
from projections.engine.rebuild_progress import RebuildProgress
from projections.executions.past import PastLists
from projections.executions.projection import Executions
from projections.history.time_travel import History
from projections.log_lines.archive.reader import ArchivedLines
from projections.log_lines.notifier import LogLineNotifier
from projections.log_lines.reader import LogLinePages
from projections.log_lines.stream import LogLineReader
from projections.log_lines.tail import LogLineTail
from projections.other_log import OtherLog
from projections.read_sources import ReadSources
from projections.registry import Views, all_projections


class Common(NamedTuple):
    """The parts that all logs of a process share: the limits of failed attempts and of memory for bodies."""

    attempts: FailedAttempts
    bodies: Bodies
    database: SharedDatabase | None = None
    """For a hosted log, the connections that it shares with the logs of the same database; None for the main log."""

    @classmethod
    def of(cls, settings: Settings) -> Common:
        """Make the shared parts from the settings."""
        return cls(FailedAttempts(settings.failed_attempts), Bodies())


@dataclass(frozen=True, slots=True)
class System:
    """All parts of one log in the process that answers requests."""

    sources: ReadSources
    key_monitor: KeyMonitor
    move_monitor: MoveMonitor
    directory: Directory
    clock: Clock
    bus: Bus
    dispatcher: ClaimDispatcher
    access_changes: AccessChanges
    admission: AdmissionControl
    listener: Listener
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
    log_line_notifier: LogLineNotifier
    progress: RebuildProgress
    webhooks: WebhookParts
    signer: Signer
    settings: Settings
    common: Common
    others: Callable[[], HostedState | None] = lambda: None
    """The state of the hosted logs of the process; None without any."""
    other: OtherLog | None = None
    """The log that this one was recognized as in the place of an earlier one, while the process was running."""
    cells: CellClient = field(default_factory=CellClient)

    @property
    def of_process(self) -> bool:
        """Whether this is the main log, whose metrics include those of the process."""
        return self.common.database is None

    @property
    def store(self) -> Store:
        """The log in the primary database."""
        return self.sources.primary


def new_hub(
    store: Store,
    listener: Listener,
    schema: str,
    limit: int,
    of_log: str = "",
    *,
    sources: ReadSources | None = None,
) -> Hub:
    """Make the streaming engine of a store. Frames name the log by `of_log`, if given; past events are read from
    `sources`.
    """
    tail = Tail(store, listener, schema, of_log)
    hub = Hub(tail, Loader(StoredLog(store, sources)), LogLineTail(store), limit, of_log)
    store.keyring.on_destroyed.append(hub.forget_content)
    return hub


def build(
    settings: Settings,
    conninfo: str,
    keys: LogKeys,
    admin_token: str,
    of_log: str,
    *,
    common: Common | None = None,
) -> System:
    """Make and connect all parts, without starting them. `of_log` is the id of the log; its name is in the settings."""
    common = common or Common.of(settings)
    codec, sources = registry.codec(), _sources(settings, conninfo, keys, of_log, common.database)
    store, schema, clock = sources.primary, settings.schema, Clock()
    listener = _listener(conninfo, schema, common.database)
    access_log = AccessLog(conninfo, schema, clock, common.database)
    directory = Directory(settings.log, cells(settings.cells))
    changes, views = AccessChanges(store, listener, schema), all_projections(codec)
    access = new_access(settings, admin_token, keys, store, changes)
    hub = new_hub(store, listener, schema, settings.stream_limit, of_log, sources=sources)
    positions, grants = PositionTracker(store, listener, schema), Grants(store, views[2], clock)
    bus, notifier = _writer(store, clock, directory, settings, hub=hub, positions=positions)
    asked = access, changes, access_log, grants
    return System(
        sources=sources,
        move_monitor=_move_monitor(store, listener, access_log, conninfo, common.database),
        directory=directory,
        clock=clock,
        bus=bus,
        dispatcher=ClaimDispatcher(bus, store, positions),
        access_changes=changes,
        admission=new_admission(settings, *asked, directory=directory, attempts=common.attempts),
        listener=listener,
        positions=positions,
        hub=hub,
        log_line_notifier=notifier,
        signer=Signer(keys.secret, origin_of(of_log)),
        settings=settings,
        common=common,
        **_readers(settings, store, hub, views),
    )


def _readers(settings: Settings, store: Store, hub: Hub, views: Views) -> dict[str, Any]:
    """Make the parts that read the log and its views."""
    executions, _, catalog, *_ = views
    return {
        "key_monitor": KeyMonitor(store),
        "stream_requests": StreamRequests(hub, store),
        "history": History(store),
        "executions": executions,
        "past_lists": PastLists(store),
        "analytics_queries": AnalyticsQueries(),
        "catalog": catalog,
        "logs": LogLinePages(store, ArchivedLines(settings.archive, settings.archive_cache)),
        "log_stream": LogLineReader(store),
        "progress": RebuildProgress(store, [view.name for view in views]),
        "webhooks": WebhookParts.of(settings.webhook_allow, store),
    }


def _listener(conninfo: str, schema: str, shared: SharedDatabase | None) -> Listener:
    return (
        Listener(conninfo, schema)
        if shared is None
        else SharedListener(shared.listen_connection, schema)
    )


def _sources(
    settings: Settings, conninfo: str, keys: LogKeys, of_log: str, shared: SharedDatabase | None
) -> ReadSources:
    of_primary = conninfo, settings.schema, registry.codec(), Keyring(Vault(keys.master))
    number = settings.database_connections
    store = Store(*of_primary, number, log_name=settings.log, shared=shared)
    if settings.read_database_url is None:
        return ReadSources(store)
    standby = StandbyStore(settings.read_database_url, store, settings.database_connections, of_log)
    return ReadSources(store, Standby(standby, of_log))


def _writer(
    store: Store,
    clock: Clock,
    directory: Directory,
    settings: Settings,
    *,
    hub: Hub,
    positions: PositionTracker,
) -> tuple[Bus, LogLineNotifier]:
    log_line_notifier = LogLineNotifier(store, lambda: positions.position("logs"))

    def lines_written() -> None:
        hub.logs.wake()
        log_line_notifier.wake()

    bus = Bus(
        store,
        clock,
        directory.new_id,
        chance,
        settings.queue_limit,
        lines_written=lines_written,
        doubt=lambda: clock.doubt,
    )
    return bus, log_line_notifier


def _move_monitor(
    store: Store,
    listener: Listener,
    access_log: AccessLog,
    conninfo: str,
    shared: SharedDatabase | None,
) -> MoveMonitor:
    """What the log shares with others leads nowhere else: then it is closed, and opened where it is now."""
    if shared is not None:
        return MoveMonitor(store, listener, conninfo, poll=POLL)
    relocate = store.connections.relocate, partial(relocate_listener, listener), access_log.relocate
    return MoveMonitor(store, listener, conninfo, relocate)


@asynccontextmanager
async def running(system: System) -> AsyncIterator[None]:
    """Run all parts of a system while the block runs."""
    parts: tuple[ProcessPart, ...] = (
        system.admission.access_log,
        *(system.listener, system.positions, system.access_changes, system.bus),
        *(system.dispatcher, system.hub, system.log_line_notifier),
        *(DestroyedKeys(system.store, system.listener), system.key_monitor, system.move_monitor),
        *filter(None, [system.sources.standby]),
    )
    clients = aclosing(system.webhooks.client), aclosing(system.cells)
    async with open_with_current_key(system.store), run_parts(parts), clients[0], clients[1]:
        yield
