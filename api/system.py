"""The parts of the process that answers requests: made and wired here, by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from api.access.attempts import FailedAttempts
from api.access.changes import AccessChanges
from api.access.grants import Grants
from api.access.identity import Access, Verifier
from api.access.keys import KeyVerifier
from api.access.open_requests import ENDED, REVOKED
from api.access.request_limits import RequestLimits
from api.access.sessions import SessionVerifier
from api.access.tokens.configured import verifiers
from api.access.visibility import Visibility
from api.cells.client import CellClient
from api.cells.directory import Directory
from api.claiming.dispatcher import Dispatcher
from api.clock import Clock, chance
from api.settings import Settings, cells
from api.streaming.hub import Hub
from api.streaming.log.loader import Loader
from api.streaming.log.stored_log import StoredLog
from api.streaming.log.tail import Tail
from api.web.access.browsers import Browsers
from api.web.access.proxies import Proxies
from api.web.admission import Door
from api.web.body import Bodies
from api.web.input.webhook_plans import WebhookParts
from api.web.streams.stream_request import StreamRequests
from domain import registry
from domain.access.key import KeyRevoked
from domain.access.session import SessionEnded
from domain.eventlog.access.access_log import AccessLog
from domain.eventlog.access.parties import parties_of
from domain.eventlog.connection.standby import Standby
from domain.eventlog.connection.standby_store import StandbyStore
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.keys.current import opened
from domain.eventlog.keys.destroyed import DestroyedKeys
from domain.eventlog.keys.key_watch import KeyWatch
from domain.eventlog.migrations import migrate_log
from domain.eventlog.moving.whereabouts import MoveWatch, listen_in
from domain.eventlog.notifications import Listener
from domain.eventlog.setup.log_id import log_exists
from domain.eventlog.setup.log_secret import LogKeys, derived
from domain.eventlog.store import Store
from domain.supervisor import Part, started
from domain.writer.command_bus import Bus
from projections.analytics.queries import AnalyticsQueries
from projections.audit.note import Signer, origin_of
from projections.audit.tables import migrate_audit
from projections.catalog import Catalog
from projections.engine.migrations import migrate_projections
from projections.engine.position_tracker import PositionTracker
from projections.engine.rebuild_progress import Progress
from projections.executions.past import PastLists
from projections.executions.projection import Executions
from projections.history.time_travel import History
from projections.log_lines.archive.reader import ArchivedLines
from projections.log_lines.news import LogLineNotifier
from projections.log_lines.reader import LogLinePages
from projections.log_lines.stream import LogLineReader
from projections.log_lines.tail import LogLineTail
from projections.other_log import OtherLog
from projections.read_sources import ReadSources
from projections.registry import all_projections
from workers.outbound.addresses import networks


@dataclass(frozen=True, slots=True)
class System:
    """Everything that runs in the process that answers requests."""

    sources: ReadSources
    key_watch: KeyWatch
    move_watch: MoveWatch
    directory: Directory
    clock: Clock
    bus: Bus
    dispatcher: Dispatcher
    access_changes: AccessChanges
    door: Door
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
    log_news: LogLineNotifier
    progress: Progress
    webhooks: WebhookParts
    signer: Signer
    settings: Settings
    bodies: Bodies = field(default_factory=Bodies)
    other: OtherLog | None = None
    """How this log took the place of another one, while the process ran."""
    cells: CellClient = field(default_factory=CellClient)

    @property
    def store(self) -> Store:
        """The log, as the primary has it."""
        return self.sources.primary


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
    migrate_audit(conninfo, schema)


def new_hub(
    store: Store,
    listener: Listener,
    schema: str,
    limit: int,
    of_log: str = "",
    *,
    sources: ReadSources | None = None,
) -> Hub:
    """The streaming engine over a store, which names the log where its id is given; the past is read from `sources`."""
    tail = Tail(store, listener, schema, of_log)
    hub = Hub(tail, Loader(StoredLog(store, sources)), LogLineTail(store), limit, of_log)
    store.keyring.on_destroyed.append(hub.forget_content)
    return hub


def build(
    settings: Settings, conninfo: str, keys: LogKeys, admin_token: str, of_log: str
) -> System:
    """All parts, wired but not started. `of_log` is the id of the log, whose name is that of the settings."""
    codec, sources = registry.codec(), _sources(settings, conninfo, keys, of_log)
    store, schema, clock = sources.primary, settings.schema, Clock()
    listener, directory = Listener(conninfo, schema), Directory(settings.log, cells(settings.cells))
    access_log, changes = AccessLog(conninfo, schema, clock), AccessChanges(store, listener, schema)
    access = _access(settings, admin_token, keys, store, changes)
    hub = new_hub(store, listener, schema, settings.stream_limit, of_log, sources=sources)
    executions_view, _, catalog_view, *_ = views = all_projections(codec)
    positions, grants = PositionTracker(store, listener, schema), Grants(store, catalog_view, clock)
    bus, log_news = _writer(store, clock, directory, settings, hub=hub, positions=positions)
    return System(
        sources=sources,
        key_watch=KeyWatch(store),
        move_watch=_move_watch(store, listener, access_log, conninfo),
        directory=directory,
        clock=clock,
        bus=bus,
        dispatcher=Dispatcher(bus, store, positions),
        access_changes=changes,
        door=_door(settings, access, changes, access_log, grants, directory=directory),
        listener=listener,
        positions=positions,
        hub=hub,
        stream_requests=StreamRequests(hub, store),
        history=History(store),
        executions=executions_view,
        past_lists=PastLists(store),
        analytics_queries=AnalyticsQueries(),
        catalog=catalog_view,
        logs=LogLinePages(store, ArchivedLines(settings.archive, settings.archive_cache)),
        log_stream=LogLineReader(store),
        log_news=log_news,
        progress=Progress(store, [view.name for view in views]),
        webhooks=WebhookParts.of(settings.webhook_allow, store),
        signer=Signer(keys.secret, origin_of(of_log)),
        settings=settings,
    )


def _sources(settings: Settings, conninfo: str, keys: LogKeys, of_log: str) -> ReadSources:
    of_primary = conninfo, settings.schema, registry.codec(), Keyring(Vault(keys.master))
    store = Store(*of_primary, settings.database_connections, log_name=settings.log)
    if settings.read_database_url is None:
        return ReadSources(store)
    standby = StandbyStore(settings.read_database_url, store, settings.database_connections, of_log)
    return ReadSources(store, Standby(standby, of_log))


def _door(
    settings: Settings,
    access: Access,
    changes: AccessChanges,
    access_log: AccessLog,
    grants: Grants,
    *,
    directory: Directory,
) -> Door:
    return Door(
        access,
        Visibility(grants.store.load, partial(parties_of, grants.store)),
        grants,
        access_log,
        directory=directory,
        open_requests=changes.open,
        browsers=Browsers(settings.public_url),
        attempts=FailedAttempts(settings.failed_attempts),
        limits=RequestLimits(settings.requests_per_second),
        proxies=Proxies(networks(settings.trusted_proxies)),
    )


def _access(
    settings: Settings, admin_token: str, keys: LogKeys, store: Store, changes: AccessChanges
) -> Access:
    known: tuple[Verifier, ...] = (KeyVerifier(store.load), *verifiers(settings))
    pepper = derived(keys.secret, "fingerprints of tokens")
    access = Access(admin_token, pepper, known, used=changes.used)

    def key_changed(identity: str | None) -> None:
        access.forget()
        if identity is not None:
            changes.open.ended(f"key/{identity}", REVOKED)

    def session_changed(identity: str | None) -> None:
        access.forget(identity)
        if identity is not None:
            changes.open.ended(f"session/{identity}", ENDED)

    access.add(SessionVerifier(store.load, lambda: access.admin_parent))
    changes.subscribe("key", [KeyRevoked.type], key_changed)
    changes.subscribe("session", [SessionEnded.type], session_changed)
    return access


def _writer(
    store: Store,
    clock: Clock,
    directory: Directory,
    settings: Settings,
    *,
    hub: Hub,
    positions: PositionTracker,
) -> tuple[Bus, LogLineNotifier]:
    log_news = LogLineNotifier(store, lambda: positions.position("logs"))

    def lines_written() -> None:
        hub.logs.appended()
        log_news.appended()

    bus = Bus(
        store,
        clock,
        directory.new_id,
        chance,
        settings.queue_limit,
        lines_written=lines_written,
        doubt=lambda: clock.doubt,
    )
    return bus, log_news


def _move_watch(
    store: Store, listener: Listener, access_log: AccessLog, conninfo: str
) -> MoveWatch:
    relocate = store.relocate, partial(listen_in, listener), access_log.relocate
    return MoveWatch(store, listener, conninfo, relocate)


@asynccontextmanager
async def running(system: System) -> AsyncIterator[None]:
    """The parts run, on an open store, while the block does."""
    parts: tuple[Part, ...] = (
        system.door.access_log,
        *(system.listener, system.positions, system.access_changes, system.bus),
        *(system.dispatcher, system.hub, system.log_news),
        *(DestroyedKeys(system.store, system.listener), system.key_watch, system.move_watch),
        *filter(None, [system.sources.standby]),
    )
    clients = aclosing(system.webhooks.client), aclosing(system.cells)
    async with opened(system.store), started(parts), clients[0], clients[1]:
        yield
