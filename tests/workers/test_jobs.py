"""A job sends its command once to each execution, by several processes and after any interruption."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from domain import registry
from domain.errors import ArchiveAway
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.states import StateLoader
from domain.eventlog.store import Store
from domain.execution.commands import CancelExecution, CompleteExecution, FailExecution
from domain.jobs.job import CancelJob, CreateJob, Job
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from projections.catalog import Catalog, CatalogEntry, CatalogPage
from projections.executions.projection import Executions
from projections.query.parser import MOST_CONDITIONS
from tests.support.followed_log import SCHEMA, FollowedLog
from workers import jobs as jobs_module
from workers.jobs import JobWorker

pytestmark = pytest.mark.anyio


class World(FollowedLog):
    """With the list of executions that jobs page through."""

    def worker(self, store: Store | None = None) -> JobWorker:
        """A worker of this process, or of another that has its own `store`."""
        store = store or self.store
        executions, catalog = Executions(store.codec), Catalog(store.codec)
        writer = GuardedWriter(store, lambda: self.now, str, lambda: 0.5)
        return JobWorker(writer, store, executions, catalog, "", clock=lambda: self.now)

    async def create(self, command: str, **fields: Any) -> None:
        created = CreateJob(command=command, matching=0, **({"filter": {}} | fields))  # type: ignore[arg-type]
        await self.bus.send(Message("job/j", created, "maker"))
        await self.follow()

    async def job(self) -> Job:
        versioned = await self.store.load("job/j")
        assert versioned is not None
        state: Job = versioned.state
        return state

    async def types(self, id_: str) -> list[str]:
        rows = await self.store.history(f"execution/{id_}")
        return [row.type.removeprefix("execution.") for row in rows]


@pytest.fixture
async def world(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(jobs_module, "PAGE", 10)
    async with World.opened(database, Executions(registry.codec())) as opened:
        yield opened


async def run_jobs(worker: JobWorker) -> None:
    while await worker.advance("j"):
        pass


async def test_job_reaches_only_what_its_maker_reached(world: World) -> None:
    await world.begin("own", tags=("mine",))
    await world.begin("other")
    await world.follow()
    await world.create("cancel", scope={"tags": {"$in": ["mine"]}})
    await run_jobs(world.worker())
    job = await world.job()
    assert (job.status, job.done, job.refused, job.maker) == ("completed", 1, 0, "maker")
    assert (await world.types("own"))[-1] == "cancelled"
    assert (await world.types("other"))[-1] != "cancelled"


async def test_job_with_the_most_conditions_of_a_filter_is_done(world: World) -> None:
    await world.begin("e")
    await world.follow()
    many = {"$and": [{"tags": {"$ne": f"tag-{n}"}} for n in range(MOST_CONDITIONS)]}
    await world.create("cancel", filter=many, scope={"customer": "c"})
    await run_jobs(world.worker())
    assert (await world.job()).done == 1


async def test_every_matching_execution_gets_the_command_and_refusals_are_listed(
    world: World,
) -> None:
    ids = [f"e{n:02}" for n in range(25)]
    await world.begin(*ids, tags=("old",))
    await world.begin("young")
    await world.send("e07", CompleteExecution(success=True, summary="done"))
    await world.follow()
    await world.create("cancel", filter={"tags": "old"}, reason="too old")
    await run_jobs(world.worker())
    job = await world.job()
    assert (job.status, job.done, job.refused) == ("completed", 24, 1)
    assert [(each.execution, each.code) for each in job.refusals] == [("e07", "illegal-transition")]
    assert (await world.types("e00"))[-1] == "cancelled"
    assert (await world.types("young"))[-1] == "started"
    cancelled = (await world.store.history("execution/e00"))[-1]
    assert b"too old" not in cancelled.data
    assert '"by":"maker","correlation":"j"' in cancelled.meta


async def test_page_with_an_execution_in_an_unreachable_archive_is_done_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.begin("e-0", "e-1")
    await world.follow()
    await world.create("cancel")
    load = StateLoader.load

    async def fail(loader: StateLoader, connection: Any, known: Any, **how: Any) -> Any:
        found = await load(loader, connection, known, **how)
        if "execution/e-1" in found:
            how["damaged"]["execution/e-1"] = ArchiveAway()
        return found

    async def running(*_: object, cursor: str | None) -> CatalogPage:
        return CatalogPage([CatalogEntry("j", b"")], cursor, 0)

    with monkeypatch.context() as patch:
        patch.setattr(StateLoader, "load", fail)
        patch.setattr(Catalog, "list", running)
        assert await world.worker().advance_all(world.connection) == jobs_module.SOON
        assert ((await world.job()).done, (await world.types("e-0"))[-1]) == (0, "started")
    await run_jobs(world.worker())
    assert ((await world.job()).done, (await world.job()).refused) == (2, 0)


async def test_two_workers_send_the_command_once_to_each_execution(
    world: World, database: str
) -> None:
    ids = [f"e{n:02}" for n in range(45)]
    await world.begin(*ids)
    for id_ in ids:
        await world.send(id_, FailExecution(code="E", message="m", recoverable=False))
    await world.follow()
    await world.create("retry")
    other = Store(database, SCHEMA, registry.codec(), Keyring(Vault(b"k" * 32)))
    await other.open()
    await asyncio.gather(run_jobs(world.worker()), run_jobs(world.worker(other)))
    await run_jobs(world.worker())
    await other.close()
    job = await world.job()
    assert (job.status, job.done, job.refused) == ("completed", 45, 0)
    assert {(await world.types(id_)).count("retry") for id_ in ids} == {1}


async def test_executions_created_after_the_job_are_skipped(world: World) -> None:
    await world.begin(*(f"e{n:02}" for n in range(12)))
    await world.follow()
    await world.create("cancel")
    worker = world.worker()
    assert await worker.advance("j")
    world.now += timedelta(seconds=1)
    await world.begin("later")
    await world.begin("z-dated-back", occurred_at=world.now - timedelta(seconds=1))
    await world.follow()
    await run_jobs(worker)
    assert (await world.job()).done == 12
    for name in ("later", "z-dated-back"):
        assert (await world.types(name))[-1] == "started"


async def test_job_waits_until_the_list_has_reached_its_position(world: World) -> None:
    await world.begin("e")
    created = CreateJob(command="cancel", filter={}, matching=1)
    await world.bus.send(Message("job/j", created, "maker"))
    assert not await world.worker().advance("j")
    await world.follow()
    await run_jobs(world.worker())
    assert (await world.job()).done == 1


async def test_cancelled_job_sends_no_more_commands(world: World) -> None:
    await world.begin(*(f"e{n:02}" for n in range(25)))
    await world.follow()
    await world.create("cancel")
    worker = world.worker()
    assert await worker.advance("j")
    await world.bus.send(Message("job/j", CancelJob(), "maker"))
    await run_jobs(worker)
    job = await world.job()
    assert (job.status, job.done) == ("cancelled", 10)


async def test_failed_job_is_retried_later_and_delays_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    advanced: list[str] = []

    async def advance(_: JobWorker, id_: str) -> bool:
        advanced.append(id_)
        if id_ == "broken":
            raise RuntimeError
        return True

    async def running(*_: object, cursor: str | None) -> CatalogPage:
        found, following = ("broken", "broken") if cursor is None else ("j", None)
        return CatalogPage([CatalogEntry(found, b"")], following, 0)

    monkeypatch.setattr(JobWorker, "advance", advance)
    monkeypatch.setattr(Catalog, "list", running)
    worker = world.worker()
    for _ in range(3):
        assert await worker.advance_all(world.connection) == 0
    assert advanced == ["broken", "j", "j", "j"]
    world.now += jobs_module.AGAIN
    await worker.advance_all(world.connection)
    assert advanced[4:] == ["broken", "j"]


async def test_job_with_an_unreadable_filter_fails_with_the_reason(world: World) -> None:
    await world.begin("e")
    await world.follow()
    await world.create("cancel", filter={"colour": "red"})
    await run_jobs(world.worker())
    job = await world.job()
    assert (job.status, job.done) == ("failed", 0)
    assert "colour" in str(job.error)
    assert (await world.types("e"))[-1] == "started"


async def test_page_whose_job_is_cancelled_meanwhile_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.begin("e")
    await world.follow()
    await world.create("cancel")
    worker = world.worker()
    find = Executions.find

    async def slow(*given: Any, **options: Any) -> Any:
        page = await find(*given, **options)
        await world.bus.send(Message("job/j", CancelJob(), "maker"))
        return page

    monkeypatch.setattr(Executions, "find", slow)
    assert not await worker.advance("j")
    assert (await world.types("e"))[-1] == "started"


async def test_command_without_effect_counts_as_done(world: World) -> None:
    await world.begin("e")
    await world.send("e", CancelExecution())
    await world.follow()
    await world.create("cancel")
    await run_jobs(world.worker())
    assert (await world.job()).done == 1
    assert (await world.types("e")).count("cancelled") == 1
