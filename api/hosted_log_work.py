"""The background work for the hosted logs of a deployment, in the work process of the log of the settings.

All logs share a limited number of connections; a log for which nothing is to be done has no connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import NamedTuple

import structlog

from api.cells.registry import LogLocation, LogRegistry
from api.database import Database
from api.ready_logs import Preparation, prepare_log
from api.settings import SetupError
from api.work import Audit, LogChangeHandlers, SharedResources, run_workers
from domain.errors import DomainError
from domain.eventlog.connection.shared import SharedDatabases
from domain.eventlog.setup.log_secret import LogKeys
from domain.supervisor import Background, Tasks, cancel
from workers.archiver import LineRetention
from workers.connection_slots import ConnectionSlots
from workers.log_ownership import LogOwnership
from workers.outbound.addresses import networks
from workers.webhooks.http_client import HttpClient

POLL_INTERVAL = 1.0
"""Seconds between two looks at the file of the logs."""
AGAIN, LONGEST = 5.0, 300.0
"""Seconds before the work for a log is tried again after an error: doubled each time, up to the longest."""
ENDS_WITHIN = 8.0
"""Seconds for the work of a log to end, before it is cancelled."""
AT_ONCE = 8
"""Logs that are prepared at the same time."""

log = structlog.get_logger()


class WorkDeployment(NamedTuple):
    """The settings that the work for all hosted logs shares.

    `known`: the database of logs that name no other. `webhook_allow`: the private networks that webhooks may call.
    `retention`: what is archived when, each log below the same URL. `lost_leases`: the leases that an execution may
    lose. `audit`: the events of each log that are audited in a second. `connections`: the connections of all logs.
    """

    known: Database
    master_key: bytes
    webhook_allow: str
    retention: LineRetention | None
    lost_leases: int
    audit: Audit
    connections: int

    def retention_of(self, name: str) -> LineRetention | None:
        """The retention of a log, whose files are in a folder of its own."""
        if (common := self.retention) is None:
            return None
        url = f"{common.url.rstrip('/')}/{name}"
        # Beside the folder of the main log, which empties its own.
        work = common.work.with_name(f"{common.work.name}-{name}")
        return LineRetention(url, common.days, work, common.access_days, common.event_days)


class HostedLogWorkers(Background):
    """Runs the work for each log in the file. An error of one log does not delay the others."""

    def __init__(self, registry: LogRegistry, deployment: WorkDeployment) -> None:
        self._registry = registry
        self._deployment = deployment
        ready = partial(prepare_log, deployment.known, deployment.master_key)
        self._preparation = Preparation(ready, AT_ONCE)
        self._databases = SharedDatabases(max(2, deployment.connections // 2))
        self._ownerships: dict[str, tuple[LogOwnership, list[str]]] = {}
        self._slots: dict[str, ConnectionSlots] = {}
        self._working: dict[str, tuple[LogLocation, asyncio.Task[None]]] = {}

    def tasks(self) -> Tasks:
        return {"logs at work": self._run}

    async def stop(self) -> None:
        """End the work for all logs."""
        await super().stop()
        await _end([task for _, task in self._working.values()])
        self._preparation.close()

    async def _run(self) -> None:
        async with aclosing(HttpClient(networks(self._deployment.webhook_allow))) as client:
            stamp: tuple[int, ...] | None = None
            while True:
                if stamp != (stamp := self._registry.stamp()):
                    try:
                        await self._adapt_to(self._registry.read(), client)
                    except SetupError as error:
                        log.error("the file of the logs cannot be read", reason=str(error))
                await asyncio.sleep(POLL_INTERVAL)

    async def _adapt_to(self, locations: dict[str, LogLocation], client: HttpClient) -> None:
        """Start and end work, so that it runs for the logs in the file, at their current locations, and no others."""
        for name, (location, task) in list(self._working.items()):
            if locations.get(name) != location:
                await _end([task])
                del self._working[name]
        for name, location in locations.items():
            if name not in self._working:
                run = self._work_always(name, location, client)
                self._working[name] = location, asyncio.create_task(run, name=f"work for {name}")

    async def _work_always(self, name: str, location: LogLocation, client: HttpClient) -> None:
        structlog.contextvars.bind_contextvars(log=name)
        pause = AGAIN
        while True:
            try:
                conninfo, keys, _ = await self._preparation.of(name, location)
                pause = AGAIN
                if await self._work(name, conninfo, location.schema, keys, client):
                    continue
            except (DomainError, SetupError, OSError) as error:
                reason = error.detail if isinstance(error, DomainError) else str(error)
                log.error("no work is done for the log", reason=reason, again_in=pause)
            except Exception:
                log.exception("the work for a log has failed", again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST)

    async def _work(
        self, name: str, conninfo: str, schema: str, keys: LogKeys, client: HttpClient
    ) -> bool:
        """Work until the log is another one, another process owns it, or it has moved. Return whether it has moved."""
        known, over, moved = self._deployment, asyncio.Event(), asyncio.Event()
        on_changed = list[Callable[[], object]]()

        def leave(_: str) -> None:
            moved.set()
            over.set()

        def notice_change() -> None:
            for call in on_changed:
                call()

        async with (
            self._databases.of(conninfo) as database,
            self._ownership(conninfo, schema) as ownership,
            ownership.of(schema, over.set, notice_change),
            run_workers(
                *(conninfo, schema, keys, known.webhook_allow, known.retention_of(name)),
                lost_leases=known.lost_leases,
                audit=known.audit,
                log_name=name,
                on_change=LogChangeHandlers(over.set, over.set, leave),
                shared=SharedResources(database, self._slots_of(conninfo), client, on_changed),
            ),
        ):
            await over.wait()
        return moved.is_set()

    def _slots_of(self, conninfo: str) -> ConnectionSlots:
        if conninfo not in self._slots:
            self._slots[conninfo] = ConnectionSlots.of(self._deployment.connections // 2)
        return self._slots[conninfo]

    @asynccontextmanager
    async def _ownership(self, conninfo: str, schema: str) -> AsyncIterator[LogOwnership]:
        """The holder of the locks of all logs in a database, which is stopped with its last user."""
        if conninfo not in self._ownerships:
            self._ownerships[conninfo] = LogOwnership(conninfo), []
            self._ownerships[conninfo][0].start()
        ownership, users = self._ownerships[conninfo]
        users.append(schema)
        try:
            yield ownership
        finally:
            users.remove(schema)
            if not users:
                del self._ownerships[conninfo]
                await ownership.stop()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks once, and again only after `ENDS_WITHIN`: a second cancellation would interrupt their clean-up."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=ENDS_WITHIN)
    await cancel(*tasks)
