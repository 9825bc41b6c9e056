"""Lists use stored states; a damaged row affects no other row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import psycopg
import pytest

from domain.damage import REPORTS
from domain.eventlog.sessions import session_options
from domain.execution.events.creation import ExecutionUpdated
from domain.execution.events.lifecycle import ExecutionFailed, RetryScheduled
from domain.execution.types import ExecutionError
from projections.executions import references, stored_states
from projections.executions.past import PastLists
from projections.query.ast import EVERYTHING
from tests.projections.executions.test_references import Follows, following, worked
from tests.support.event_writer import NOON, SECOND, Happening, completed, created, started

LATER = NOON + 10_000 * SECOND


def change(conninfo: str, *statements: str) -> None:
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        for statement in statements:
            assert connection.execute(statement.encode()).rowcount


def damage_events(conninfo: str) -> None:
    """Damage the events of `open`."""
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER append_only")
    change(conninfo, "UPDATE events SET meta = 'x' WHERE originator_id = 'execution/open'")


def damage(conninfo: str) -> None:
    """Damage the document of `ended` and the events of `open`."""
    damage_events(conninfo)
    change(
        conninfo,
        "UPDATE execution_documents SET document = set_byte(document, 20, 120) WHERE id = 'ended'",
    )


async def list_documents(on: Follows, **options: Any) -> list[dict[str, Any]]:
    page = await on.view.find(on.connection, NOON, **options)
    return [orjson.loads(one.document) for one in page.data]


async def write_four(on: Follows) -> None:
    for name in ("ended", "open", "good", "going"):
        await on.write(*worked(name, "short"))
    await on.write(completed("ended"), completed("good"))


async def test_damaged_row_is_listed_as_unreadable_and_affects_no_other(views: str) -> None:
    async with following(views) as on:
        await write_four(on)
        damage(views)
        REPORTS.forget()
        before = REPORTS.count
        shown = {one["$id"]: one for one in await list_documents(on)}
        assert shown.keys() == {"ended", "open", "good", "going"}
        for name in ("ended", "open"):
            assert shown[name] == {"$type": "ServiceExecution", "$id": name, "unreadable": True}
        assert shown["good"]["status"] == "completed"
        assert shown["going"]["steps"][0]["name"] == "Planned"
        assert REPORTS.count == before + 2


async def test_damaged_row_affects_no_list_of_the_past(views: str) -> None:
    async with following(views) as on:
        await write_four(on)
        damage(views)
        lists = PastLists(on.log.store)
        page = await lists.find(on.connection, LATER, await lists.moment(LATER), EVERYTHING)
        assert {one.id for one in page.data if one.damaged} == {"ended", "open"}
        assert len(page.data) == 4


async def test_selected_members_of_a_damaged_row_include_its_id_and_mark(views: str) -> None:
    async with following(views) as on:
        await write_four(on)
        damage(views)
        shown = await list_documents(on, choose=lambda _: b'{"status":"x"}')
        assert [one.get("$id") for one in shown if "unreadable" in one] == ["open", "ended"]
        assert shown.count({"status": "x"}) == 2


async def test_execution_continued_after_a_scheduled_retry_needs_no_earlier_events(
    views: str,
) -> None:
    error = ExecutionError(code="E", message="broken", recoverable=True)
    failed = ExecutionFailed(error=error, final=False, will_retry=True)
    scheduled = RetryScheduled(retry=1, delay=SECOND, next_retry_at=NOON)
    async with following(views) as on:
        await on.write(created("open"), *started("open"))
        await on.write(Happening("open", failed), Happening("open", scheduled))
        damage_events(views)
        on.view.forget()
        await on.write(*started("open"))
        [shown] = await list_documents(on)
        assert (shown["status"], shown["metrics"]["retries"]) == ("running", 1)


async def test_listed_state_is_not_folded_again_until_it_changes(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []
    folded = references.fold

    async def note_call(
        connection: Any, codec: Any, versions: Mapping[str, int], *more: Any
    ) -> Any:
        asked.append(sorted(versions))
        return await folded(connection, codec, versions, *more)

    monkeypatch.setattr(stored_states, "fold", note_call)
    async with following(views) as on:
        await on.write(*worked("a", "short"), *worked("b", "short"))
        asked.clear()
        first = await list_documents(on)
        assert await list_documents(on) == first
        await on.write(Happening("a", ExecutionUpdated(tags=("new",))))
        assert {one["$id"]: one["tags"] for one in await list_documents(on)} == {
            "a": ["new"],
            "b": [],
        }
    asked = [streams for streams in asked if streams]
    assert asked == [["execution/a", "execution/b"], ["execution/a"]]
