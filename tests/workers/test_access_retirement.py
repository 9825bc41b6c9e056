"""Old days of the access log are recorded as retired and then dropped, except days with held executions or faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api.embedded_postgres.server import EmbeddedPostgres
from domain.eventlog.access.days import RETIRE_DAY
from domain.retention.hold import PlaceHold, ReleaseHold
from projections.audit.access.anchors import anchors_after
from projections.audit.access.proven import proven_reads
from projections.audit.access.retired import hash_before
from tests.support.databases import new_database
from tests.support.past_lines import DAY, NOON
from tests.support.past_reads import PastReads
from workers import access_anchors, access_retirement, day_retention

pytestmark = pytest.mark.anyio
FOR_ALL = 2**40
"""A position after all anchors."""


@pytest.fixture(scope="module")
async def template(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, views_template: str
) -> AsyncIterator[str]:
    """The name of a database with the entries of three days; each test gets a copy."""
    with new_database(admin, template=views_template) as name:
        async with PastReads.opened(postgres.conninfo(name), Path()) as opened:
            await opened.days("e-1 e-2 e-1", "e-1 e-2", "e-1")
        yield name


@pytest.fixture
async def reads(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template: str, tmp_path: Path
) -> AsyncIterator[PastReads]:
    """Entries 1 to 3 on the first day, 4 and 5 on the second, 6 on the third; now is the following noon."""
    with new_database(admin, template=template) as name:
        async with PastReads.opened(postgres.conninfo(name), tmp_path) as opened:
            opened.past.now += 3 * DAY
            yield opened


def outcomes(found: list[access_retirement.RetiredDay]) -> list[tuple[int, str, int]]:
    return [(each.day.day, each.outcome, each.entries) for each in found]


async def test_old_days_are_recorded_and_dropped_and_the_chain_verifies(reads: PastReads) -> None:
    hashes = await reads.past.query("SELECT encode(hash, 'hex') FROM access_log ORDER BY id")
    assert outcomes(await reads.retire(28)) == [(1, "retired", 3)]
    assert await reads.ids() == [4, 5, 6]
    assert await reads.faults() == []
    assert outcomes(await reads.retire(10)) == [(2, "retired", 2), (3, "retired", 1)]
    assert await reads.ids() == []
    assert await reads.past.query("SELECT to_regclass('access_log_20261001')") == [(None,)]
    events = await reads.retired()
    assert [(event.first, event.last) for event in events] == [(1, 3), (4, 5), (6, 6)]
    assert [event.before for event in events] == ["", hashes[2][0], hashes[4][0]]
    assert [event.hash for event in events] == [hashes[2][0], hashes[4][0], hashes[5][0]]
    assert await reads.faults() == []
    await reads.days("e-2")
    assert await reads.ids() == [7]
    assert await reads.faults() == []


async def test_days_in_the_default_partition_are_retired_one_by_one(
    database_with_views: str, tmp_path: Path
) -> None:
    async with PastReads.opened(database_with_views, tmp_path) as reads:
        await reads.read("e-1", "e-1")
        reads.past.now += DAY
        await reads.read("e-2")
        await reads.anchor()
        assert await reads.past.query("SELECT count(*) FROM access_log_rest") == [(3,)]
        assert outcomes(await reads.retire(30)) == [(1, "retired", 2)]
        assert await reads.ids() == [3]
        assert await reads.faults() == []
        with pytest.raises(psycopg.errors.RestrictViolation):  # the trigger exists again
            await reads.past.query("DELETE FROM access_log_rest")


async def test_retirement_of_a_process_that_died_before_the_drop_is_continued(
    reads: PastReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> None:
        raise LookupError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(access_retirement, "_drop", dies)
        assert {each.outcome for each in await reads.retire()} == {"failed"}
    assert await reads.ids() == [1, 2, 3, 4, 5, 6]
    assert await reads.faults() == []
    assert {each.outcome for each in await reads.retire(0)} == {"retired"}
    assert await reads.ids() == []
    assert len(await reads.retired()) == 3
    assert await reads.faults() == []


@pytest.mark.parametrize(
    "scope", [{"executions": ("e-2",)}, {"order": "o-2"}, {"service": "s-2"}, {"customer": "c-2"}]
)
async def test_hold_keeps_the_days_of_its_executions_until_it_is_released(
    reads: PastReads, scope: dict[str, Any]
) -> None:
    await reads.past.begin("e-2", order="o-2", service="s-2", customer="c-2")
    await reads.past.place(PlaceHold(reason="Audit", **scope), "h-1")
    found = await reads.retire()
    assert [(each.outcome, each.reason) for each in found] == [
        ("on hold", "h-1 (executions: 1)"),
        ("on hold", "h-1 (executions: 1)"),
        ("retired", ""),
    ]
    assert await reads.ids() == [1, 2, 3, 4, 5]
    assert await reads.faults() == []
    await reads.past.send("hold/h-1", ReleaseHold(reason="It is over"))
    assert {each.outcome for each in await reads.retire(0)} == {"retired"}
    assert await reads.faults() == []


async def test_day_between_retired_days_stays_complete(reads: PastReads) -> None:
    await reads.days("e-9", "e-1")
    await reads.past.place(PlaceHold(reason="Audit", executions=("e-9",)), "h-1")
    await reads.retire()
    assert await reads.ids() == [7]
    assert await reads.faults() == []
    proven = await proven_reads(reads.past.connection, "e-9", FOR_ALL, None)
    assert [read.entry.id for read in proven.reads] == [7]
    gaps = await reads.past.work.load("retirement/access-log")
    assert gaps is not None
    assert proven.reads[0].before.hex() == gaps.state.gaps[0].hash
    assert (await proven_reads(reads.past.connection, "e-1", FOR_ALL, None)).reads == []


async def test_hold_created_while_a_day_is_checked_keeps_it(
    reads: PastReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(*what: Any) -> bytes:
        if not await reads.past.query("SELECT FROM events WHERE topic = 'hold.placed'"):
            await reads.past.place(PlaceHold(reason="Audit", executions=("e-1",)), "h-1")
        return await hash_before(*what)

    monkeypatch.setattr(access_retirement, "hash_before", slowly)
    assert (await reads.retire())[0].outcome == "waiting"
    assert {each.outcome for each in await reads.retire(0)} == {"on hold"}
    assert await reads.ids() == [1, 2, 3, 4, 5, 6]
    assert await reads.retired() == []


async def test_hold_created_between_the_record_of_a_day_and_its_drop_keeps_it(
    reads: PastReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = reads.retirer._record

    async def place_then_drop(*what: Any) -> None:
        await record(*what)
        if not await reads.past.query("SELECT FROM events WHERE topic = 'hold.placed'"):
            await reads.past.place(PlaceHold(reason="Audit", executions=("e-2",)), "h-1")

    monkeypatch.setattr(reads.retirer, "_record", place_then_drop)
    found = await reads.retire()
    assert (found[0].outcome, found[0].reason) == ("waiting", "a hold was placed meanwhile")
    assert (await reads.retired())[0].first == 1
    assert 2 in await reads.ids()
    assert (await reads.retire(0))[0].outcome == "on hold"
    assert (await reads.ids())[:3] == [1, 2, 3]
    assert await reads.faults() == []


async def test_hold_created_after_a_process_died_before_the_drop_keeps_the_day(
    reads: PastReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(access_retirement, "RETIRE_DAY", "SELECT missing(%s)")
        assert {each.outcome for each in await reads.retire()} == {"failed"}
    assert len(await reads.retired()) == 3
    await reads.past.place(PlaceHold(reason="Audit", executions=("e-2",)), "h-1")
    found = await reads.retire(0)
    assert [each.outcome for each in found] == ["on hold", "on hold", "retired"]
    assert await reads.ids() == [1, 2, 3, 4, 5]
    assert await reads.faults() == []
    await reads.past.send("hold/h-1", ReleaseHold(reason="It is over"))
    assert {each.outcome for each in await reads.retire(0)} == {"retired"}
    assert await reads.faults() == []


async def test_day_stays_while_other_transactions_use_the_access_log(
    reads: PastReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_retention, "MOST_ATTEMPTS", 2)
    monkeypatch.setattr(day_retention, "LONGEST_PAUSE", 0.01)
    await reads.past.follow()
    reads.past.now += 40 * DAY
    async with reads.past.connection.transaction():  # such as a backup
        await reads.past.query("SELECT id FROM access_log LIMIT 1")
        waiting = (await reads.retirer.retire([NOON.date()]))[0]
    assert (waiting.outcome, waiting.reason) == (
        "waiting",
        "others were using the table or the log",
    )
    assert (await reads.retire(0))[0].outcome == "retired"


async def test_day_stays_until_the_views_have_all_holds(reads: PastReads) -> None:
    reads.past.now += 40 * DAY
    found = await reads.retirer.retire()
    assert {(each.outcome, each.reason) for each in found} == {
        ("waiting", "the views that say what is held are behind the log")
    }
    assert await reads.ids() == [1, 2, 3, 4, 5, 6]


async def test_day_that_is_not_completely_anchored_stays(reads: PastReads) -> None:
    await reads.read("e-1")
    await reads.past.query("SELECT make_access_day(%s)", reads.past.now.date())
    found = await reads.retire()
    assert [each.outcome for each in found] == ["retired", "retired", "retired", "waiting"]
    assert await reads.ids() == [7]


async def test_day_that_was_anchored_late_stays_for_30_days_from_its_anchor(
    database_with_views: str, tmp_path: Path
) -> None:
    """Others can tell the least age of a day only by its anchor."""
    async with PastReads.opened(database_with_views, tmp_path) as reads:
        await reads.read("e-1")
        reads.past.now += 20 * DAY
        await reads.anchor()
        assert outcomes(await reads.retire(29)) == [(1, "too new", 0)]
        assert await reads.ids() == [1]
        assert outcomes(await reads.retire(1)) == [(1, "retired", 1)]
        assert await reads.faults() == []


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ("UPDATE access_log SET actor = 'bob' WHERE id = 2", [1, 2, 3]),
        ("DELETE FROM access_log WHERE id = 2", [1, 3]),
        ("UPDATE access_log SET hash = sha256('x') WHERE id = 3", [1, 2, 3, 4, 5]),
    ],
)
async def test_changed_day_is_not_retired(reads: PastReads, change: str, stays: list[int]) -> None:
    await reads.change(change)
    assert (await reads.retire())[0].outcome == "failed"
    assert await reads.ids() == stays
    assert await reads.faults() != []


async def test_day_is_not_dropped_without_a_record_in_the_log(reads: PastReads) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation, match="does not say that 2026-10-01"):
        await reads.past.query(RETIRE_DAY, "2026-10-01")
    assert await reads.ids() == [1, 2, 3, 4, 5, 6]


CHANGES = {
    "UPDATE access_log SET hash = sha256('x') WHERE id = 4": "entry 4: is not what was recorded",
    "DELETE FROM access_log WHERE id = 4": "entry 4: is not there",
    "DELETE FROM events WHERE topic = 'access.retired'": "entry 1: is not there, nor are those up to 3",
    "UPDATE access_head SET hash = sha256('x')": "entry 6: is not the last one",
    """UPDATE events SET state = convert_to(replace(convert_from(state, 'UTF8'), '"before":""', '"before":"00"'),
        'UTF8') WHERE topic = 'access.retired'""": "entries 1 to 3: were retired at position",
    """UPDATE events SET state = convert_to(regexp_replace(convert_from(state, 'UTF8'), '"hash":"..', '"hash":"00'),
        'UTF8') WHERE topic = 'access.retired'""": "entries 1 to 3: were retired at position",
    """UPDATE events SET state = convert_to(replace(convert_from(state, 'UTF8'), '2026-10-01', '2026-10-20'),
        'UTF8') WHERE topic = 'access.retired'""": "entries 1 to 3: were retired at position",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_change_next_to_a_retired_day_is_named(reads: PastReads, change: str) -> None:
    await reads.retire(28)
    assert await reads.faults() == []
    await reads.change(change)
    faults = await reads.faults()
    assert faults
    assert faults[0].startswith(f"access log: {CHANGES[change]}"), faults


async def test_anchor_ends_with_the_day_of_its_first_entry(
    database_with_views: str, tmp_path: Path
) -> None:
    async with PastReads.opened(database_with_views, tmp_path) as reads:
        reads.past.now = reads.past.now.replace(hour=23, minute=59, second=58)
        await reads.read("e-1", "e-1", "e-1", "e-1")
        await reads.anchor()
        found = await anchors_after(reads.past.connection, 0, 10)
        assert [(each.first, each.last) for each in found] == [(1, 2), (3, 4)]
        assert await reads.faults() == []


async def test_anchor_of_two_days_is_checked_by_its_hash_once_one_of_them_is_retired(
    database_with_views: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs of earlier builds have such anchors."""

    async def first_and_last(_: object, __: int, until: int) -> tuple[int, date]:
        return until, date(2026, 10, 2)

    monkeypatch.setattr(access_anchors, "_last_of_day", first_and_last)
    async with PastReads.opened(database_with_views, tmp_path) as reads:
        reads.past.now = reads.past.now.replace(hour=23, minute=59, second=58)
        await reads.read("e-1", "e-1", "e-1", "e-1")
        await reads.anchor()
        await reads.change(
            "UPDATE events SET state = convert_to((convert_from(state, 'UTF8')::jsonb - 'day')::text, 'UTF8')"
            " WHERE topic = 'access.anchored'"
        )
        assert outcomes(await reads.retire(30))[0] == (1, "retired", 2)
        assert await reads.ids() == [3, 4]
        assert await reads.faults() == []
        assert (await proven_reads(reads.past.connection, "e-1", FOR_ALL, None)).reads == []
        await reads.change(
            "UPDATE events SET state = convert_to(regexp_replace("
            """convert_from(state, 'UTF8'), '"hash": "..', '"hash": "00'), 'UTF8') WHERE topic = 'access.anchored'"""
        )
        [fault] = await reads.faults()
        assert "entries 1 to 4: are others: the last one has another hash" in fault
