"""A log is moved under load: nothing acknowledged is lost or doubled, and a killed move is continued or rolled back."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import structlog
from psycopg.conninfo import make_conninfo

from domain.eventlog.codec import EventRow
from domain.eventlog.moving.journal import location_of
from domain.eventlog.queries import IN_ORDER, SPAN
from domain.eventlog.sessions import session_options
from tests.support.cluster_clients import MovingConsumer, UnkeyedCaller, assert_once
from tests.support.load import (
    Load,
    assert_log_contains,
    assert_refused_are_absent,
    assert_views_follow,
    under_load,
)
from tests.support.moved_log import (
    MovedLog,
    Servers,
    ask,
    has_schema,
    left_of_move,
    moved_log,
    two_servers,
)
from tests.support.service_process import AUTHORIZED
from tests.support.stream_consumers import by_socket, by_sse

GENTLY = 0.32
"""Seconds between two commands of a caller: 12 callers send at most 38 commands a second."""
BACK = 60
BEFORE_THE_END = (
    *(("prepare", "after"), ("publish", "before"), ("publish", "after"), ("copy", "before")),
    *(("copy", "after"), ("compare_past", "after"), ("close", "after"), ("wait_for_all", "after")),
    *(("compare_remaining", "after"), ("seal", "after"), ("open", "before")),
)
AT_THE_END = (
    ("open", "after"),
    ("hand_over", "before"),
    ("hand_over", "after"),
    ("finish", "after"),
)
QUICK = ("seal", "after")

log = structlog.get_logger()

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def servers(postgres_bin: Path | None) -> Iterator[Servers]:
    with two_servers(postgres_bin) as servers:
        yield servers


def events_of(conninfo: str) -> list[EventRow]:
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        cursor = connection.execute((SPAN + IN_ORDER).encode(), (0, 10_000_000), binary=True)
        return [EventRow(*row) for row in cursor.fetchall()]


@asynccontextmanager
async def run_clients(moved: MovedLog) -> AsyncIterator[tuple[Load, Load]]:
    """Clients with keys and without, at the first and the last server."""
    first, last = moved.services[0], moved.services[-1]
    async with (
        under_load(first, "with-key", pause=GENTLY) as keyed,
        under_load(last, "without-key", pause=2 * GENTLY, keys=False) as unkeyed,
    ):
        yield keyed, unkeyed


async def assert_complete(moved: MovedLog, place: str, *loads: Load) -> None:
    """Raises AssertionError unless the log in a database has every acknowledged command, once, and views follow it."""
    events = await asyncio.to_thread(events_of, place)
    assert_log_contains(events, [answer for load in loads for answer in load.answers])
    for load in loads:
        assert_refused_are_absent(events, load)
        assert all(refusal.status_code == 503 for refusal in load.refusals)
    moved.services[0]._database = place
    moved.services[0].environment["EXECUTIONS_DATABASE_URL"] = place
    await assert_views_follow(moved.services[0])


async def test_move_under_load_loses_and_doubles_nothing_and_streams_stay_open(
    servers: Servers,
) -> None:
    with moved_log(servers, services=2) as moved:
        consumers = [MovingConsumer(moved.services, read) for read in (by_sse, by_socket)]
        caller = UnkeyedCaller(moved.services)
        log_id = ask(moved.old, "SELECT log_id FROM head")
        async with run_clients(moved) as loads:
            await loads[0].answered(50)
            caller.gap = 0.0
            done = await asyncio.to_thread(moved.move, "--json")
            assert done.returncode == 0, done.stdout + done.stderr
            shown = json.loads(done.stdout.splitlines()[-1])
            for load in loads:
                await load.answered(50)
            log.info("moved", shown=shown, without_answer=round(caller.gap, 2))
        await caller.stop()
        end = max(answer.position for load in loads for answer in load.answers)
        await asyncio.to_thread(moved.services[0].wait_until_ready, BACK)
        try:
            async with under_load(moved.services[0], "more", pause=GENTLY) as more:
                await asyncio.gather(*(consumer.finish(end) for consumer in consumers))
        finally:
            for consumer in consumers:
                consumer.stop()
        assert ask(moved.new, "SELECT position FROM head") > shown["position"]
        assert ask(moved.old, "SELECT position FROM head") == shown["position"]
        assert ask(moved.new, "SELECT log_id FROM head") == log_id
        await assert_complete(moved, moved.new, *loads, more)
        assert_once(await asyncio.to_thread(events_of, moved.new), caller)
        for consumer in consumers:
            assert consumer.positions == list(range(1, len(consumer.positions) + 1))
        assert left_of_move(moved.new) == {}
        assert left_of_move(moved.old).keys() == {"triggers", "rows"}


@pytest.mark.parametrize(("method", "when"), [*BEFORE_THE_END, *AT_THE_END])
async def test_killed_move_is_continued(
    servers: Servers, method: str, when: str, *, thorough: bool
) -> None:
    if not thorough:
        pytest.skip("another kill: --thorough")
    with moved_log(servers) as moved:
        async with run_clients(moved) as loads:
            killed = await asyncio.to_thread(moved.killed_move, method, when)
            assert killed == -signal.SIGKILL
            done = await asyncio.to_thread(moved.move, "--json")
            assert done.returncode == 0, done.stdout + done.stderr
            for load in loads:
                await load.answered(20)
        assert left_of_move(moved.new) == {}
        await assert_complete(moved, moved.new, *loads)


@pytest.mark.parametrize(("method", "when"), BEFORE_THE_END)
async def test_killed_move_is_rolled_back_and_started_again(
    servers: Servers, method: str, when: str, *, thorough: bool
) -> None:
    if not thorough and (method, when) != QUICK:
        pytest.skip("another kill: --thorough")
    with moved_log(servers) as moved:
        async with run_clients(moved) as loads:
            await asyncio.to_thread(moved.killed_move, method, when)
            listed = await asyncio.to_thread(moved.cells, "list", "--json")
            moves = [log["move"]["to"] for log in json.loads(listed.stdout) if "move" in log]
            assert moves == [location_of(moved.new)]
            done = await asyncio.to_thread(moved.move, "--abort")
            assert done.returncode == 0, done.stdout + done.stderr
            assert not has_schema(moved.new)
            assert left_of_move(moved.old) == {}
            for load in loads:
                await load.answered(20)
            again = await asyncio.to_thread(moved.move)
            assert again.returncode == 0, again.stdout + again.stderr
            await loads[0].answered(20)
        await assert_complete(moved, moved.new, *loads)


@pytest.mark.parametrize(("method", "when"), AT_THE_END)
async def test_move_whose_new_database_accepts_commands_is_not_rolled_back(
    servers: Servers, method: str, when: str, *, thorough: bool
) -> None:
    if not thorough:
        pytest.skip("another kill: --thorough")
    with moved_log(servers) as moved:
        await asyncio.to_thread(moved.killed_move, method, when)
        done = await asyncio.to_thread(moved.move, "--abort")
        assert done.returncode == 1
        assert "finish the move" in done.stderr
        assert (await asyncio.to_thread(moved.move)).returncode == 0


async def test_fence_opens_after_a_timeout_if_the_move_dies(
    servers: Servers, *, thorough: bool
) -> None:
    if not thorough:
        pytest.skip("takes 10 seconds: --thorough")
    with moved_log(servers) as moved:
        async with run_clients(moved) as loads:
            await asyncio.to_thread(moved.killed_move, "close", "after")
            for load in loads:
                await load.answered(20)
            assert loads[0].refusals
        await assert_complete(moved, moved.old, *loads)
        assert (await asyncio.to_thread(moved.move, "--abort")).returncode == 0


async def test_server_that_was_frozen_during_the_move_writes_nothing_to_the_old_database(
    servers: Servers, *, thorough: bool
) -> None:
    if not thorough:
        pytest.skip("takes 10 seconds: --thorough")
    with moved_log(servers, services=2) as moved:
        asleep, other = moved.services
        async with (
            under_load(other, "other", pause=GENTLY) as load,
            under_load(asleep, "asleep", pause=GENTLY) as sleeper,
        ):
            assert asleep._process is not None
            asleep._process.send_signal(signal.SIGSTOP)
            done = await asyncio.to_thread(moved.move)
            asleep._process.send_signal(signal.SIGCONT)
            assert done.returncode == 0, done.stdout + done.stderr
            await sleeper.answered(20)
            await load.answered(20)
        await assert_complete(moved, moved.new, load, sleeper)


async def test_server_that_starts_with_the_old_address_serves_the_log_from_the_new_database(
    servers: Servers,
) -> None:
    with moved_log(servers) as moved:
        [service] = moved.services
        await asyncio.to_thread(service.terminate)
        assert await asyncio.to_thread(moved.killed_move, "open", "after") == -signal.SIGKILL
        assert (await asyncio.to_thread(moved.move)).returncode == 0
        await asyncio.to_thread(service.start)
        async with under_load(service, "after", pause=GENTLY) as load:
            await load.answered(10)
        assert "the log has moved" in service.log()
        back = moved.cells("move", moved.name, "--to", moved.old, "--dry-run", at=moved.new)
        assert back.returncode == 1
        assert "has a schema executions already" in back.stdout
        assert "wal_level" in back.stdout
        assert f'"movedTo": "{location_of(moved.new)}"' in moved.cells("list", "--json").stdout
        dropped = moved.cells("drop", moved.name, "--confirm", moved.name)
        assert (dropped.returncode, "It has moved to" in dropped.stdout) == (0, True)
        assert not has_schema(moved.old)
        await assert_complete(moved, moved.new, load)


async def test_move_to_another_database_is_refused_while_one_is_in_progress(
    servers: Servers, *, thorough: bool
) -> None:
    if not thorough:
        pytest.skip("one more log: --thorough")
    with moved_log(servers) as moved:
        await asyncio.to_thread(moved.killed_move, "publish", "after")
        done = moved.move(to=make_conninfo(moved.new, dbname="postgres"))
        assert (done.returncode, "is being moved to" in done.stderr) == (1, True)
        dropped = moved.cells("drop", moved.name, "--confirm", moved.name)
        assert (dropped.returncode, "a server or a work process" in dropped.stderr) == (1, True)
        back = moved.move("--abort", "--new-is-lost", to="host=127.0.0.1 port=1 dbname=gone")
        assert (back.returncode, left_of_move(moved.old)) == (0, {}), back.stderr


def test_servers_stay_on_the_database_of_their_proxy(
    servers: Servers, tmp_path: Path, *, thorough: bool
) -> None:
    if not thorough:
        pytest.skip("one more log: --thorough")
    with moved_log(servers) as moved:
        [service] = moved.services
        done = moved.move("--stay", "--then", f"touch {tmp_path}/switched")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "switched").exists()
        body = {"$id": "acme", "name": "Acme", "kind": "organization"}
        refused = httpx.post(f"{service.url}/api/users", json=body, headers=AUTHORIZED)
        assert (refused.status_code, "being moved" in refused.json()["detail"]) == (503, True)
        assert int(refused.headers["retry-after"]) > 0
        assert ask(moved.new, "SELECT position FROM head") == ask(
            moved.old, "SELECT position FROM head"
        )


async def test_impossible_move_is_refused_before_anything_is_changed(
    servers: Servers,
) -> None:
    with moved_log(servers) as moved:
        with psycopg.connect(moved.old, options=session_options("executions")) as connection:
            connection.execute("CREATE TABLE notes (text text)")
        for said, to in {
            "the table notes has no primary key": moved.new,
            "both are the same database": moved.old,
        }.items():
            done = moved.move("--dry-run", to=to)
            assert (done.returncode, said in done.stdout) == (1, True), done.stdout + done.stderr
            refused = moved.move(to=to)
            assert (refused.returncode, said in refused.stderr) == (1, True)
        assert left_of_move(moved.old) == {}
        assert not has_schema(moved.new)
