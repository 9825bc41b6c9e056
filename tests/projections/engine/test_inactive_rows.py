"""Rows that have not changed for a while are moved, while no other process holds the bookmark."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest
from psycopg import AsyncConnection
from structlog.testing import capture_logs

from domain.eventlog.sessions import session_options
from domain.registry import codec
from projections.engine import inactive_rows
from projections.engine.inactive_rows import InactiveRowMover, PositionTimes
from projections.executions.projection import Executions

pytestmark = pytest.mark.anyio


def test_position_at_a_time_is_the_last_one_known_by_then() -> None:
    passed = PositionTimes()
    assert passed.before(100.0) == 0
    for now, position in ((10.0, 5), (20.0, 5), (30.0, 8), (40.0, 9)):
        passed.add(position, now)
    found = [passed.before(moment) for moment in (9.0, 10.0, 29.0, 30.0, 50.0)]
    assert found == [0, 5, 5, 8, 9]


def test_position_of_a_rebuilt_view_is_unknown() -> None:
    passed = PositionTimes()
    passed.add(5, 10.0)
    passed.add(2, 20.0)
    assert passed.before(15.0) == 0
    assert passed.before(20.0) == 2


class Tidying(Executions):
    """Records the positions up to which it is to move rows; reports `more` times that it has more."""

    def __init__(self, more: int = 0, fails: bool = False) -> None:
        super().__init__(codec())
        self.asked: list[int] = []
        self.forgotten = 0
        self._more = more
        self._fails = fails

    async def move_inactive(self, connection: AsyncConnection, until: int) -> bool:
        self.asked.append(until)
        if self._fails:
            await connection.execute("SELECT 1 / 0")
        return len(self.asked) <= self._more

    def forget(self) -> None:
        super().forget()
        self.forgotten += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [0.0]
    monkeypatch.setattr(inactive_rows, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


async def connect(conninfo: str) -> AsyncConnection:
    options = session_options("executions")
    return await AsyncConnection.connect(conninfo, autocommit=True, options=options)


async def set_bookmark(connection: AsyncConnection, position: int) -> None:
    await connection.execute("UPDATE bookmarks SET position = %s", (position,))


async def test_view_moves_once_what_has_not_changed_for_a_minute(
    views: str, clock: Callable[[float], None]
) -> None:
    async with await connect(views) as connection:
        view = Tidying()
        mover = InactiveRowMover(view)
        await set_bookmark(connection, 7)
        for _ in range(30):
            await mover.move(connection)
            clock(5)
            await set_bookmark(connection, 9)
        assert view.asked == [7, 9]


async def test_view_with_more_to_move_is_asked_again_soon(
    views: str, clock: Callable[[float], None]
) -> None:
    async with await connect(views) as connection:
        view = Tidying(more=2)
        mover = InactiveRowMover(view)
        await set_bookmark(connection, 7)
        await mover.move(connection)
        clock(60)
        waits = []
        for _ in range(9):
            await mover.move(connection)
            waits.append(mover.more_at < inf)
            clock(inactive_rows.MORE)
        assert view.asked == [7, 7, 7]
        assert waits == [True, True, *[False] * 7]


async def test_view_moves_nothing_while_another_process_holds_the_bookmark(
    views: str, clock: Callable[[float], None]
) -> None:
    async with await connect(views) as connection, await connect(views) as other:
        view = Tidying()
        mover = InactiveRowMover(view)
        await set_bookmark(connection, 7)
        await mover.move(connection)
        clock(60)
        async with other.transaction():
            await other.execute("SELECT FROM bookmarks FOR UPDATE")
            await mover.move(connection)
        assert view.asked == []
        clock(5)
        await mover.move(connection)
        assert view.asked == [7]


async def test_view_whose_move_fails_clears_its_cache_and_continues(
    views: str, clock: Callable[[float], None]
) -> None:
    async with await connect(views) as connection:
        view = Tidying(fails=True)
        mover = InactiveRowMover(view)
        await set_bookmark(connection, 7)
        await mover.move(connection)
        clock(60)
        with capture_logs() as logged:
            await mover.move(connection)
        assert [entry["event"] for entry in logged] == ["inactive rows were not moved"]
        assert view.forgotten == 1
        await mover.move(connection)
        assert view.asked == [7]
