"""The background work of a log: updates the views, fires timers, ends lost leases, calls webhooks, executes jobs,
archives log lines and events, and audits the log. Its parts are made and connected here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from api.cells.directory import ids_of
from api.clock import Clock, chance
from domain import registry
from domain.eventlog.connection.log_monitor import POLL, LogMonitor
from domain.eventlog.connection.notifications import Listener
from domain.eventlog.connection.shared import SharedDatabase
from domain.eventlog.connection.shared_listener import SharedListener
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.keys.current import open_with_current_key
from domain.eventlog.keys.destroyed import DestroyedKeys
from domain.eventlog.keys.key_monitor import KeyMonitor
from domain.eventlog.keys.no_key import NO_KEY
from domain.eventlog.moving.log_location import MoveMonitor
from domain.eventlog.setup.log_secret import LogKeys
from domain.eventlog.store import Store
from domain.execution.types import MOST_LOST
from domain.supervisor import ProcessPart, run_parts
from domain.writer.guarded_writer import GuardedWriter
from projections.catalog import Catalog
from projections.engine.channels import progress_channel, when_moved
from projections.engine.runner import Runner
from projections.executions.projection import Executions
from projections.registry import all_projections
from workers import connection_slots
from workers.access_anchors import AccessAnchorer
from workers.access_retirement import AccessRetirer
from workers.archiver import Archiver, LineRetention
from workers.auditor import Auditor
from workers.connection_slots import ConnectionSlots
from workers.event_archive.archiver import EventArchiver
from workers.jobs import JobWorker
from workers.leases import LeaseWorker
from workers.outbound.addresses import networks
from workers.ownership import POLL_INTERVAL, OwnedWork
from workers.sweeper import Sweeper
from workers.timers.worker import TimerWorker
from workers.tree_builder import TreeBuilder
from workers.webhooks.caller import WebhookCaller
from workers.webhooks.deliveries import WebhookWorker
from workers.webhooks.http_client import HttpClient
from workers.witnesses.publisher import HeadPublisher
from workers.witnesses.witness_types import witnesses

CONNECTIONS = 3
"""Connections for reading the states of executions with due timers, and the events for webhooks."""
LARGEST_STAMP = 64 * 1024
"""Bytes of the largest time-stamp that is accepted."""
Slow = Auditor | Archiver | EventArchiver | AccessRetirer


class SharedResources(NamedTuple):
    """The parts that the work of all hosted logs of a process shares: connections, their limit, and the client that calls
    webhooks. `on_changed` are called when the log has changed, which is polled once for all logs.
    """

    database: SharedDatabase
    slots: ConnectionSlots
    client: HttpClient
    on_changed: list[Callable[[], object]]


def new_runner(
    conninfo: str, schema: str, listener: Listener, shared: SharedResources | None
) -> Runner:
    """Make the runner that updates every view. It must be made before the listener is started."""
    codec, database = registry.codec(), shared and shared.database
    # Never opened, as the runner reads pages by its own connection.
    store = Store(conninfo, schema, codec, Keyring(NO_KEY), shared=database)
    views, slot = all_projections(codec), shared and shared.slots.views
    return Runner(views, store, listener, conninfo=conninfo, schema=schema, slot=slot)


def wake_by_views(listener: Listener, schema: str, workers: Sequence[OwnedWork]) -> None:
    """Wake each worker when the view that it follows has advanced. Call this before the listener is started."""
    for worker in workers:
        if worker.follows is not None:
            moved = when_moved(worker.follows, worker.wake.set)
            listener.add_handler(progress_channel(schema), moved)


class Audit(NamedTuple):
    """The events audited in a second, the URLs of the witnesses for signed heads, and the folder of time-stamps."""

    rate: int
    witnesses: str
    stamps: Path


class LogChangeHandlers(NamedTuple):
    """The callbacks for a log that becomes another one, that gets another master key, and that has moved; the last one is
    called with the new connection string.
    """

    log: Callable[[], object] = lambda: None
    key: Callable[[], object] = lambda: None
    database: Callable[[str], object] = lambda _: None


@asynccontextmanager
async def run_workers(
    conninfo: str,
    schema: str,
    keys: LogKeys,
    webhook_allow: str = "",
    retention: LineRetention | None = None,
    *,
    lost_leases: int = MOST_LOST,
    audit: Audit | None = None,
    log_name: str | None = None,
    on_change: LogChangeHandlers = LogChangeHandlers(),  # noqa: B008 - a constant
    shared: SharedResources | None = None,
) -> AsyncIterator[Runner]:
    """Do the background work of a log while the block runs. `shared` are the parts that it shares with other logs."""
    listener = _listener(conninfo, schema, shared)
    runner = new_runner(conninfo, schema, listener, shared)
    codec, store = registry.codec(), _store(conninfo, schema, keys, log_name, shared)
    clock, client = Clock(), shared.client if shared else HttpClient(networks(webhook_allow))
    caller = WebhookCaller(store, client)
    writer = GuardedWriter(store, clock, ids_of(log_name), chance)
    workers = (
        TimerWorker(writer, conninfo, schema, clock),
        LeaseWorker(writer, store, conninfo, clock=clock, most_lost=lost_leases),
        WebhookWorker(caller, store, writer, conninfo, clock=clock, chance=chance),
        JobWorker(writer, store, Executions(codec), Catalog(codec), conninfo, clock=clock),
        tree := TreeBuilder(conninfo, schema, keys.secret, clock),
        anchorer := AccessAnchorer(writer, store, conninfo, schema, clock=clock),
        sweeper := Sweeper(conninfo, schema),
    )
    wake_by_views(listener, schema, workers)
    _wake_by_log(store, listener, tree, sweeper)
    slow = _slow(writer, store, conninfo, clock=clock, keys=keys, retention=retention, audit=audit)
    for each in (*workers, *slow):
        each.slots = shared and shared.slots
    monitors = _monitors(store, listener, conninfo, on_change, shared)
    _wake_by_changes(shared, (*monitors, anchorer))
    parts: list[ProcessPart] = [listener, runner, DestroyedKeys(store, listener), *workers, *slow]
    parts += monitors
    async with open_with_current_key(store), _closing(client, shared), run_parts(parts):
        yield runner


def _slow(
    writer: GuardedWriter,
    store: Store,
    conninfo: str,
    *,
    clock: Clock,
    keys: LogKeys,
    retention: LineRetention | None,
    audit: Audit | None,
) -> list[Slow]:
    """Make the workers that take long and are seldom needed: they archive, retire and audit."""
    schema, parts = store.schema, list[Slow]()
    if retention is not None:
        days = retention.access_days
        parts.append(Archiver(writer, store, conninfo, schema, retention, clock=clock))
        parts.append(EventArchiver(writer, store, conninfo, retention, clock=clock))
        parts.append(AccessRetirer(writer, store, conninfo, schema, days, clock=clock))
    if audit is not None and audit.rate:
        parts.append(Auditor(writer, store, conninfo, keys.secret, audit.rate, clock=clock))
    return parts


def _wake_by_log(store: Store, listener: Listener, tree: TreeBuilder, sweeper: Sweeper) -> None:
    """Wake those who follow no view: by events, and by erasures."""
    listener.add_handler(store.schema, lambda _: tree.wake.set())
    store.keyring.on_destroyed.append(lambda _: sweeper.wake.set())


def _wake_by_changes(
    shared: SharedResources | None,
    parts: Sequence[OwnedWork | LogMonitor | KeyMonitor | MoveMonitor],
) -> None:
    """Wake the parts of a hosted log when it has changed: one query polls all logs for changes."""
    if shared is not None:
        shared.on_changed.extend(part.wake.set for part in parts)


def _listener(conninfo: str, schema: str, shared: SharedResources | None) -> Listener:
    """Who looks by itself every `POLL_INTERVAL` seconds, as the log monitor looks for all."""
    if shared is None:
        return Listener(conninfo, schema, poll=POLL_INTERVAL)
    poll = connection_slots.poll_interval()
    return SharedListener(shared.database.listen_connection, schema, poll)


def _monitors(
    store: Store,
    listener: Listener,
    conninfo: str,
    on_change: LogChangeHandlers,
    shared: SharedResources | None,
) -> tuple[LogMonitor, KeyMonitor, MoveMonitor]:
    every = POLL if shared is None else connection_slots.poll_interval()
    return (
        LogMonitor(store, on_change.log, listener, every),
        KeyMonitor(store, on_change.key, every),
        MoveMonitor(store, listener, conninfo, on_moved=on_change.database, poll=every),
    )


def _closing(
    client: HttpClient, shared: SharedResources | None
) -> AbstractAsyncContextManager[object]:
    return aclosing(client) if shared is None else nullcontext()


def _store(
    conninfo: str, schema: str, keys: LogKeys, log_name: str | None, shared: SharedResources | None
) -> Store:
    given = conninfo, schema, registry.codec(), Keyring(Vault(keys.master)), CONNECTIONS
    return Store(*given, log_name=log_name, shared=shared and shared.database)


@asynccontextmanager
async def run_witnesses(
    conninfo: str, schema: str, allowed: str, audit: Audit
) -> AsyncIterator[None]:
    """Send signed heads to the witnesses while the block runs."""
    client = HttpClient(networks(allowed), answer_bytes=LARGEST_STAMP)
    found = witnesses(audit.witnesses, client, audit.stamps)
    publisher = HeadPublisher(found, conninfo, schema, clock=Clock())
    async with aclosing(client), run_parts([publisher] if found else []):
        yield
