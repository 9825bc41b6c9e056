"""Carries out jobs: one command for many executions, page by page.

The commands of a page and the progress of the job are one commit, so after a crash a job continues where it was, and no
execution gets the command twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

import structlog
from psycopg import AsyncConnection

from domain.catalog.order import EraseOrder
from domain.errors import ArchiveAway, DomainError, Invalid, OutcomeUnknown, Overloaded
from domain.eventlog.store import Store
from domain.execution.commands import COMMANDS
from domain.execution.commands.erase import EraseExecution
from domain.jobs.job import AdvanceJob, FailJob, Job, JobStatus, Refusal
from domain.json_forms import format_time
from domain.model import aggregate_id
from domain.writer.guarded_writer import GuardedWriter, WriteOutcome
from domain.writer.message import Message
from projections.catalog import Catalog
from projections.executions.columns import field
from projections.executions.projection import Executions
from projections.executions.references import nothing
from projections.query import parser
from projections.query.ast import And, Condition
from workers.erasures import (
    NO_HOLDS,
    ORDERS,
    ErasureHolds,
    ErasurePage,
    find_erasure_holds,
    ids_erased,
    orders_of,
    refusal,
)
from workers.ownership import POLL_INTERVAL, OwnedWork

ACTOR = "system"
SOON = 2.0
"""Seconds between two polls while a job waits to be tried again."""
BEHIND = 0.05
"""Seconds between two polls while the list of executions is behind the position at which a job was created."""
GATHERS = 0.2
"""The shortest time in seconds between two polls, unless a job goes on: each page of the log wakes this work."""
AGAIN = timedelta(seconds=10)
"""The time after which a job that has failed is tried again."""
PAGE = 100
"""Executions in one commit. Other writers can commit between two pages."""
RUNNING = {"status": JobStatus.RUNNING}
OLDEST_FIRST = "metadata.createdAt"
RECORDED_AFTER = """SELECT originator_id FROM events WHERE originator_id = ANY(%s::text[])
    AND originator_version = 1 AND notification_id > %s"""
"""The executions that were recorded after a job, and dated back. The archive has none of these: its events are older than jobs."""
MISTAKE = "The command failed; the diagnostic log of the service has the reason."

log = structlog.get_logger()


class JobWorker(OwnedWork):
    """Carries out the jobs of a log; each open job in turn gets a page."""

    work: ClassVar[str] = "jobs"
    follows: ClassVar[str | None] = Catalog.name

    def __init__(
        self,
        writer: GuardedWriter,
        store: Store,
        executions: Executions,
        catalog: Catalog,
        conninfo: str,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(conninfo, store.schema)
        self._writer = writer
        self._store = store
        self._executions = executions
        self._catalog = catalog
        self._clock = clock
        self._retry_at: dict[str, datetime] = {}
        """When each job that has failed is tried again."""

    async def run(self, connection: AsyncConnection) -> None:
        """Carry out jobs until cancelled."""
        while True:
            if seconds := await self.advance_all(connection):
                await asyncio.sleep(min(seconds, GATHERS))
                await self.wait_for_work(connection, seconds)
            else:
                await asyncio.sleep(0)

    async def advance_all(self, connection: AsyncConnection) -> float:
        """Do a page of each open job; return the seconds until the next call."""
        now = self._clock()
        self._retry_at = {
            id_: again_at for id_, again_at in self._retry_at.items() if again_at > now
        }
        open_jobs = [id_ for id_ in await self._list_open(connection) if id_ not in self._retry_at]
        advanced = [await self._advance(id_) for id_ in open_jobs]
        if any(advanced):
            return 0
        behind = any(id_ not in self._retry_at for id_ in open_jobs)
        return BEHIND if behind else SOON if self._retry_at else POLL_INTERVAL

    async def _list_open(self, connection: AsyncConnection) -> list[str]:
        found, cursor = list[str](), None
        while True:
            page = await self._catalog.list(connection, "job", RUNNING, cursor=cursor)
            found += [entry.id for entry in page.data]
            if (cursor := page.next_cursor) is None:
                return found

    async def _advance(self, id_: str) -> bool:
        """Do the next page of a job; after an exception it is tried again later, so that other jobs are not delayed."""
        try:
            return await self.advance(id_)
        except (Overloaded, OutcomeUnknown):
            self._retry_at[id_] = self._clock() + timedelta(seconds=SOON)
            return False
        except Exception:
            log.exception("job failed, and is tried again", job=id_, after=str(AGAIN))
            self._retry_at[id_] = self._clock() + AGAIN
            return False

    async def advance(self, id_: str) -> bool:
        """Send the commands of the next page of a job; return whether there was something to do.

        Raises:
            Overloaded, OutcomeUnknown: the database is unavailable; the next call continues.
        """
        versioned = await self._store.load(f"job/{id_}")
        if versioned is None or versioned.state.status is not JobStatus.RUNNING:
            return False
        job: Job = versioned.state
        try:
            page = await self._read_page(job)
        except Invalid as error:
            await self._fail(job, error)
            return True
        if page.position < job.created_position:
            return False
        erases = _erases(job)
        on_hold = await find_erasure_holds(self._store, page) if erases else NO_HOLDS
        if erases and on_hold.position < job.created_position:
            return False
        try:
            await self._send(job, page, on_hold)
        except (Overloaded, OutcomeUnknown):
            raise
        except DomainError as error:  # the job was cancelled, or another process has advanced it
            log.info("a page of a job is not done", job=id_, reason=error.code)
            return False
        return True

    async def _send(self, job: Job, page: ErasurePage, on_hold: ErasureHolds) -> None:
        """Send the commands of a page, and the command that records the progress of the job."""
        ids = [id_ for id_ in page.ids if id_ not in on_hold.holds]
        command = _command(job, page.kind)
        messages = [
            _message(job, f"{page.kind}/{each}", command)._replace(unless=on_hold.unless)
            for each in ids
        ]

        def conclude(outcomes: Sequence[WriteOutcome]) -> Message:
            refused = (*on_hold.refusals(page.kind), *_refusals(page.kind, ids, outcomes))
            erased = ids_erased(ids, outcomes) if on_hold.unless else ()
            orders = page.kind == "order"
            command = AdvanceJob(
                after=job.cursor,
                cursor=page.next_cursor,
                done=len(page.ids) - len(refused),
                refused=refused,
                erased=() if orders else erased,
                erased_orders=erased if orders else (),
            )
            return _message(job, f"job/{job.id}", command)

        await self._writer.send_all(messages, conclude)

    async def _read_page(self, job: Job) -> ErasurePage:
        """The next page of a job; in an erasure orders follow the executions. Raises Invalid where this program cannot read the
        filter or the cursor of the job.
        """
        if _erases(job) and (job.cursor or "").startswith(ORDERS):
            return await orders_of(self._store, self._catalog, job, PAGE)
        async with self._store.reader() as connection:
            page = await self._executions.find(
                connection,
                self._clock(),
                condition_of(job),
                sort=OLDEST_FIRST,
                limit=PAGE,
                cursor=job.cursor,
                choose=nothing,
            )
            streams = [f"execution/{row.id}" for row in page.data]
            rows = await connection.execute(RECORDED_AFTER, (streams, job.created_position))
            later = {aggregate_id(stream) for (stream,) in await rows.fetchall()}
        ids = [row.id for row in page.data if row.id not in later]
        following = page.next_cursor or (ORDERS if _erases(job) else None)
        return ErasurePage("execution", ids, following, page.position)

    async def _fail(self, job: Job, error: Invalid) -> None:
        log.error("a job cannot go on", job=job.id, reason=error.detail)
        command = FailJob(error=error.detail)
        await self._writer.send(Message(f"job/{job.id}", command, ACTOR, correlation=job.id))


def condition_of(job: Job) -> Condition:
    """The condition of the executions that get the command: they meet the filter, the maker of the job could send the command to
    them when the job was created, and they existed then.
    """
    before = {OLDEST_FIRST: {"$lte": format_time(job.created_at)}}
    wanted: Iterable[Mapping[str, Any]] = (job.scope or {}, job.filter, before)
    return And(tuple(parser.from_json(each, field) for each in wanted if each))


def _erases(job: Job) -> bool:
    return job.command == EraseExecution.wire_name


def _command(job: Job, kind: str) -> Any:
    given: dict[str, Any] = {} if job.reason is None else {"reason": job.reason}
    erase = EraseOrder if kind == "order" else EraseExecution
    commands: Mapping[str, Any] = {**COMMANDS, EraseExecution.wire_name: erase}
    return commands[job.command](**given)


def _message(job: Job, stream: str, command: Any) -> Message:
    return Message(stream, command, job.created_by, correlation=job.id)


def _refusals(kind: str, ids: Sequence[str], outcomes: Sequence[WriteOutcome]) -> list[Refusal]:
    refused: list[Refusal] = []
    for id_, outcome in zip(ids, outcomes, strict=True):
        if isinstance(error := outcome.refused, ArchiveAway):
            raise error  # not a refusal: the archive may be available later
        if isinstance(error, DomainError):
            refused.append(refusal(kind, id_, error.code, error.detail))
        elif error is not None:
            refused.append(refusal(kind, id_, "internal", MISTAKE))
    return refused
