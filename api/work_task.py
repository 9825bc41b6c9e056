"""The task of a work process, made from the settings, and the loop that works until a signal or until the log changes."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from pathlib import Path
from time import sleep
from typing import NamedTuple

import structlog
import uvloop

from api.cells.registry import LogRegistry
from api.database import Database
from api.hosted_log_work import HostedLogWorkers, WorkDeployment
from api.settings import Settings, SetupError
from api.work import Audit, LogChangeHandlers, run_witnesses, run_workers
from domain.access.retirements import DEFAULT_DAYS
from domain.errors import Overloaded
from domain.eventlog.encryption import WrongKey
from domain.eventlog.keys.key_monitor import CHANGED
from domain.eventlog.keys.rotation import RotationUnderWay
from domain.eventlog.setup.log_name import OtherName, settle_log_name
from domain.eventlog.setup.log_secret import LogKeys
from domain.execution.types import MOST_LOST
from domain.supervisor import run_parts
from workers.archiver import LineRetention

SECOND = 1.0
"""Seconds between two calls of `every_second`."""

log = structlog.get_logger()


class WorkTask(NamedTuple):
    """The settings of a work process.
    The keys are in hexadecimal. `webhook_allow`: the private networks that webhooks may call. `archive`: the URL of the
    archive of log lines and events, which leave the database after `log_days` and `event_days`. `work`: the folder of
    files that are being archived. `lost_leases`: the leases that an execution may lose. `auditor_rate`, `witnesses`,
    `stamps`: the fields of `Audit`. `access_days`: the days for which the access log is stored. `logs`: the file of the
    hosted logs; `others` and `owner`: the connection strings of hosted logs that name no database, as the serving role
    and as the owner of the tables; `connections`: the connections that hosted logs share.
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
    access_days: int = DEFAULT_DAYS
    log_name: str | None = None
    logs: str = ""
    others: str = ""
    owner: str = ""
    connections: int = 10
    event_days: int | None = None

    @property
    def retention(self) -> LineRetention | None:
        """The archive of log lines and events, and the days after which they leave the database; None without an archive."""
        if not self.archive:
            return None
        kept = self.log_days, Path(self.work), self.access_days, self.event_days
        return LineRetention(self.archive, *kept)


def task_of(
    settings: Settings, conninfo: str, keys: LogKeys, others: tuple[str, str] | None = None
) -> WorkTask:
    """Make the task of a work process. `others` are the connection strings, of the owner and of the serving role, of hosted
    logs that name no database; by default the database of this log.
    """
    owner, serving = others or (conninfo, conninfo)
    return WorkTask(
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
        "" if settings.logs is None else str(settings.logs.absolute()),
        *((serving, owner) if settings.logs else ("", "")),
        settings.database_connections,
        settings.event_days,
    )


def work_until_stopped(task: WorkTask, every_second: Callable[[], object] = lambda: None) -> None:
    """Work until SIGTERM or SIGINT, in the main thread; `every_second` is called once a second. Where the log becomes
    another one, or moves, all that was known of it is dropped.

    Raises:
        SetupError: the log has another master key, or another name.
    """
    relax_collector()
    reasons: set[Reason] = set()

    def relocate(conninfo: str) -> None:
        nonlocal task
        task = task._replace(conninfo=conninfo)

    try:
        while True:
            uvloop.run(_until_stopped(task, every_second, reasons, relocate))
            if Reason.SIGNAL in reasons:
                return
            if Reason.OTHER_KEY in reasons:
                raise WrongKey(CHANGED)
            end_when_asked()
            if Reason.OTHER_LOG in reasons:
                log.warning("the log has another id: the work begins again")
            task = settle_name_again(task, every_second)
            reasons.clear()
    except (WrongKey, RotationUnderWay) as error:
        raise SetupError(error.detail) from None


def settle_name_again(task: WorkTask, every_second: Callable[[], object]) -> WorkTask:
    """The task with the name that its log has by now, once its database answers.

    Raises:
        SetupError: the log has another name than before.
    """
    of_log = task.conninfo, task.schema
    while True:
        try:
            return task._replace(log_name=settle_log_name(*of_log, task.log_name))
        except Overloaded as error:
            log.warning("the database is away", reason=str(error))
            every_second()
            sleep(SECOND)
        except OtherName as error:
            raise SetupError(str(error)) from None


class Reason(Enum):
    """Why the work ends."""

    SIGNAL = auto()
    OTHER_LOG = auto()
    OTHER_KEY = auto()
    OTHER_DATABASE = auto()


OTHER = Reason.OTHER_LOG, Reason.OTHER_KEY, Reason.OTHER_DATABASE
"""The reasons in the order of `LogChangeHandlers`."""


async def _until_stopped(
    task: WorkTask,
    every_second: Callable[[], object],
    reasons: set[Reason],
    relocate: Callable[[str], None],
) -> None:
    """Work until there is a reason to end; add it, and those that follow until the loop has ended, to `reasons`.
    `relocate` is called with the new connection string where the log has moved.

    Raises:
        WrongKey, RotationUnderWay: the log has another master key than the task.
    """
    stopped = asyncio.Event()

    def end(reason: Reason, conninfo: str | None = None) -> None:
        if conninfo is not None:
            relocate(conninfo)
        reasons.add(reason)
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, Reason.SIGNAL)
    keys = LogKeys(bytes.fromhex(task.master_key), bytes.fromhex(task.log_secret))
    of_log, allowed = (task.conninfo, task.schema), task.webhook_allow
    audit = Audit(task.auditor_rate, task.witnesses, Path(task.stamps))
    async with (
        run_parts(work_for_others(task)),
        run_witnesses(*of_log, allowed, audit),
        run_workers(
            *(*of_log, keys, allowed, task.retention),
            lost_leases=task.lost_leases,
            audit=audit,
            log_name=task.log_name,
            on_change=LogChangeHandlers(*(partial(end, reason) for reason in OTHER)),
        ),
    ):
        while not stopped.is_set():
            every_second()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), SECOND)


def work_for_others(task: WorkTask) -> list[HostedLogWorkers]:
    """Make the work for hosted logs, if there is a file of them. Their heads are sent to no witness."""
    if not task.logs:
        return []
    deployment = WorkDeployment(
        Database(task.owner, task.others),
        bytes.fromhex(task.master_key),
        task.webhook_allow,
        task.retention,
        task.lost_leases,
        Audit(task.auditor_rate, "", Path()),
        task.connections,
    )
    return [HostedLogWorkers(LogRegistry(Path(task.logs)), deployment)]


def relax_collector() -> None:
    """Collect garbage seldom: most objects, such as states and rows, are freed by reference counting.

    With Python's default thresholds, an import spent a third of its time on traversing states that were all in use.
    Cycles (exceptions, closed connections) are freed after 100 000 further objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def end_when_asked() -> None:
    """End the process by SystemExit at SIGTERM, while no event loop handles it. By default the process would end without
    clean-up, or, as the first process of a container, ignore the signal.
    """
    signal.signal(signal.SIGTERM, _exit)


def _exit(*_: object) -> None:
    raise SystemExit(0)
