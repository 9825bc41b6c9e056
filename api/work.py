"""The work that no request waits for: it keeps the views up to the log, fires timers, looks after leases,
calls webhooks, works off jobs, archives log lines and audits the log. Its parts are wired here.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from time import sleep
from typing import NamedTuple

import structlog
import uvloop

from api.cells.directory import ids_of
from api.clock import Clock, chance
from api.settings import Settings, SetupError
from domain import registry
from domain.access.retirements import KEPT_DAYS
from domain.errors import Overloaded
from domain.eventlog.connection.log_watch import LogWatch
from domain.eventlog.encryption import KEY_BYTES, Vault, WrongKey
from domain.eventlog.keyring import Keyring
from domain.eventlog.keys.current import opened
from domain.eventlog.keys.destroyed import DestroyedKeys
from domain.eventlog.keys.key_watch import CHANGED, KeyWatch
from domain.eventlog.keys.rotation import RotationUnderWay
from domain.eventlog.notifications import Listener
from domain.eventlog.setup.log_name import OtherName, settle_log_name
from domain.eventlog.setup.log_secret import LogKeys
from domain.eventlog.store import Store
from domain.execution.types import MOST_LOST
from domain.supervisor import Part, started
from domain.writer.guarded_writer import GuardedWriter
from projections.catalog import Catalog
from projections.engine.channels import progress_channel, when_moved
from projections.engine.runner import Runner
from projections.executions.projection import Executions
from projections.registry import all_projections
from workers.access_anchors import AccessAnchorer
from workers.access_retirement import AccessRetirer
from workers.archiver import Archiver, Retention
from workers.auditor import Auditor
from workers.jobs import JobWorker
from workers.leases import LeaseWorker
from workers.outbound.addresses import networks
from workers.ownership import LOOK, OwnedWork
from workers.sweeper import Sweeper
from workers.timers import TimerWorker
from workers.tree_builder import TreeBuilder
from workers.webhooks.deliveries import WebhookWorker
from workers.webhooks.http_client import HttpClient
from workers.webhooks.receiver import Receiver
from workers.witnesses.keeper import HeadKeeper
from workers.witnesses.places import witnesses

CONNECTIONS = 3
"""To read the states that timers are fired on, and what webhooks are sent."""
LARGEST_STAMP = 64 * 1024
"""Bytes that a time-stamp may have."""
WATCH = 1.0
"""Seconds between two calls of `watch`."""
NO_KEY = Vault(bytes(KEY_BYTES))
"""Views keep what is sealed as it is: no key is ever asked for."""

log = structlog.get_logger()


def new_runner(conninfo: str, schema: str, listener: Listener) -> Runner:
    """What follows the log for every view. Make it before the listener is started."""
    codec = registry.codec()
    store = Store(conninfo, schema, codec, Keyring(NO_KEY))  # not opened: pages are read elsewhere
    views = all_projections(codec)
    return Runner(views, store, listener, conninfo=conninfo, schema=schema)


def wake_by_views(listener: Listener, schema: str, workers: Sequence[OwnedWork]) -> None:
    """Wake each worker when the view that it follows has moved. Call it before the listener is started."""
    for worker in workers:
        if worker.follows is not None:
            moved = when_moved(worker.follows, worker.news.set)
            listener.add_handler(progress_channel(schema), moved)


class Audit(NamedTuple):
    """How many events a second are audited, which witnesses keep signed heads, and where time-stamps are kept."""

    rate: int
    witnesses: str
    stamps: Path


class OnOther(NamedTuple):
    """What is called where the log becomes another one, and where it gets another master key."""

    log: Callable[[], object] = lambda: None
    key: Callable[[], object] = lambda: None


@asynccontextmanager
async def working(
    conninfo: str,
    schema: str,
    keys: LogKeys,
    webhook_allow: str = "",
    retention: Retention | None = None,
    *,
    lost_leases: int = MOST_LOST,
    audit: Audit | None = None,
    log_name: str | None = None,
    on_other: OnOther = OnOther(),  # noqa: B008 - a constant
) -> AsyncIterator[Runner]:
    """All of that work is done while the block runs; `retention` says what goes when, `audit` how it is audited."""
    listener = Listener(conninfo, schema, hearing=LOOK)  # the log watch looks for all
    runner = new_runner(conninfo, schema, listener)
    codec, store = registry.codec(), _store(conninfo, schema, keys, log_name)
    clock, client = Clock(), HttpClient(networks(webhook_allow))
    writer = GuardedWriter(store, clock, ids_of(log_name), chance)
    workers = (
        TimerWorker(writer, conninfo, schema, clock),
        LeaseWorker(writer, store, conninfo, clock=clock, most_lost=lost_leases),
        WebhookWorker(Receiver(store, client), store, writer, conninfo, clock=clock, chance=chance),
        JobWorker(writer, store, Executions(codec), Catalog(codec), conninfo, clock=clock),
        tree := TreeBuilder(conninfo, schema, keys.secret, clock),
        AccessAnchorer(writer, store, conninfo, schema, clock=clock),
        sweeper := Sweeper(conninfo, schema),
    )
    wake_by_views(listener, schema, workers)
    listener.add_handler(schema, lambda _: tree.news.set())
    store.keyring.on_destroyed.append(lambda _: sweeper.news.set())
    parts: list[Part] = [listener, runner, DestroyedKeys(store, listener), *workers]
    parts += [LogWatch(store, on_other.log, listener), KeyWatch(store, on_other.key)]
    if retention is not None:
        parts.append(Archiver(writer, store, conninfo, schema, retention, clock=clock))
        days = retention.access_days
        parts.append(AccessRetirer(writer, store, conninfo, schema, days, clock=clock))
    if audit is not None and audit.rate:
        parts.append(Auditor(writer, store, conninfo, keys.secret, audit.rate, clock=clock))
    async with opened(store), aclosing(client), started(parts):
        yield runner


def _store(conninfo: str, schema: str, keys: LogKeys, log_name: str | None) -> Store:
    keyring = Keyring(Vault(keys.master))
    return Store(conninfo, schema, registry.codec(), keyring, CONNECTIONS, log_name=log_name)


@asynccontextmanager
async def witnessing(conninfo: str, schema: str, allowed: str, audit: Audit) -> AsyncIterator[None]:
    """Signed heads are shown to the witnesses while the block runs."""
    client = HttpClient(networks(allowed), answer_bytes=LARGEST_STAMP)
    found = witnesses(audit.witnesses, client, audit.stamps)
    keeper = HeadKeeper(found, conninfo, schema, clock=Clock())
    async with aclosing(client), started([keeper] if found else []):
        yield


class Task(NamedTuple):
    """Which log a process works for, how much it says about that, which networks webhooks may reach
    besides public ones, where log lines are archived after how many days, a folder for files on their
    way there, how many leases an execution may lose, what an `Audit` has, for how many days the access log is
    kept, and the name of the log. The keys are in hexadecimal.
    """

    conninfo: str
    schema: str
    master_key: str
    log_secret: str
    log_level: str
    webhook_allow: str = ""
    archive: str = ""
    log_days: int = 30
    work: str = ""
    lost_leases: int = MOST_LOST
    auditor_rate: int = 0
    witnesses: str = ""
    stamps: str = ""
    access_days: int = KEPT_DAYS
    log_name: str | None = None

    @property
    def retention(self) -> Retention | None:
        """Where archived log lines go, and when, and for how long reads are kept; None where all of it stays."""
        if not self.archive:
            return None
        return Retention(self.archive, self.log_days, Path(self.work), self.access_days)


def task_of(settings: Settings, conninfo: str, keys: LogKeys) -> Task:
    """The task that the settings give a process."""
    return Task(
        conninfo,
        settings.schema,
        keys.master.hex(),
        keys.secret.hex(),
        settings.log_level,
        settings.webhook_allow,
        settings.archive,
        settings.log_days,
        str(settings.archiving),
        settings.lost_leases,
        settings.auditor_rate,
        settings.witnesses,
        str(settings.stamps),
        settings.access_log_days,
        settings.log,
    )


def work_until_stopped(task: Task, watch: Callable[[], object] = lambda: None) -> None:
    """Work until SIGTERM or SIGINT, in the main thread; `watch` is called every second. Where the log becomes
    another one, all that was known of it is dropped.

    Raises:
        SetupError: the log has another master key by now, or another name.
    """
    relax_collector()
    try:
        while uvloop.run(_until_stopped(task, watch)):
            log.warning("the log has another id: the work begins again")
            task = named_again(task, watch)
    except (WrongKey, RotationUnderWay) as error:
        raise SetupError(error.detail) from None


def named_again(task: Task, watch: Callable[[], object]) -> Task:
    """The task with the name that its log has by now, once its database answers.

    Raises:
        SetupError: it is not the name that it had.
    """
    of_log = task.conninfo, task.schema
    while True:
        try:
            return task._replace(log_name=settle_log_name(*of_log, task.log_name))
        except Overloaded as error:
            log.warning("the database is away", reason=str(error))
            watch()
            sleep(WATCH)
        except OtherName as error:
            raise SetupError(f"the log is named `{error.name}`, not `{task.log_name}`") from None


async def _until_stopped(task: Task, watch: Callable[[], object]) -> bool:
    """Work until a signal, or until the log is another one; whether it is.

    Raises:
        WrongKey, RotationUnderWay: it has another master key.
    """
    stopped, other, other_key = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def begin_again() -> None:
        other.set()
        stopped.set()

    def end() -> None:
        other_key.set()
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    keys = LogKeys(bytes.fromhex(task.master_key), bytes.fromhex(task.log_secret))
    of_log, allowed = (task.conninfo, task.schema), task.webhook_allow
    audit = Audit(task.auditor_rate, task.witnesses, Path(task.stamps))
    async with (
        witnessing(*of_log, allowed, audit),
        working(
            *(*of_log, keys, allowed, task.retention),
            lost_leases=task.lost_leases,
            audit=audit,
            log_name=task.log_name,
            on_other=OnOther(begin_again, end),
        ),
    ):
        while not stopped.is_set():
            watch()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), WATCH)
    if other_key.is_set():
        raise WrongKey(CHANGED)
    return other.is_set()


def relax_collector() -> None:
    """Collect garbage seldom: what lives here, states and rows, is freed by counting alone.

    With Python's own thresholds a third of the time of an import went into looking at states that
    were all still needed. Cycles (exceptions, closed connections) can wait for 100 000 objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
