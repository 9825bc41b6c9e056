"""A read is answered by the standby if it may and can, otherwise by the primary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from domain.errors import Damaged, NotFound, Overloaded
from domain.eventlog.connection.log_head import LastSeen
from domain.eventlog.connection.standby import Standby
from domain.eventlog.connection.standby_store import LOG_REACHES, StandbyCondition
from domain.eventlog.queries import NEWEST
from domain.eventlog.states import LoadedState
from domain.eventlog.store import Store
from domain.model import Versioned
from projections.read_sources import VIEW_REACHES, ReadSources
from tests.support.sample_aggregate import NOON, Tally

pytestmark = pytest.mark.anyio


class FakeStore:
    """Stands for a store; `reached` is the position that it was asked to reach."""

    def __init__(self) -> None:
        self.seen = LastSeen()
        self.reached: StandbyCondition | None = None

    def once(self, reached: StandbyCondition) -> FakeStore:
        store = FakeStore()
        store.reached = reached
        return store


class FakeStandby:
    def __init__(self, *, usable: bool = True) -> None:
        self.store = FakeStore()
        self.usable = usable


def sources(standby: FakeStandby | None) -> ReadSources:
    primary = FakeStore()
    primary.seen.note(10, NOON)
    return ReadSources(cast(Store, primary), cast(Standby, standby))


def at(position: int) -> LoadedState:
    """A state after an event at this position, of a log whose head is at 12."""
    return LoadedState(Versioned(Tally("a", 0), 3, position, NOON, 0), 12, NOON)


def fail_with(
    error: Exception | None, of: ReadSources, read_from: list[Any]
) -> Callable[[Store], Awaitable[str]]:
    """A read that raises this, but not on the primary."""

    async def read(store: Store) -> str:
        read_from.append(store)
        if error is not None and store is not of.primary:
            raise error
        return "primary" if store is of.primary else "standby"

    return read


@pytest.mark.parametrize(
    ("standby", "error", "answered_by"),
    [
        (None, None, "primary"),
        (FakeStandby(usable=False), None, "primary"),
        (FakeStandby(), None, "standby"),
        (FakeStandby(), Overloaded(), "primary"),
    ],
)
async def test_primary_answers_if_the_standby_may_not_or_cannot(
    standby: FakeStandby | None, error: Exception | None, answered_by: str
) -> None:
    of = sources(standby)
    assert await of.of_view("executions", 0, fail_with(error, of, [])) == answered_by


async def test_refusal_by_the_standby_is_final() -> None:
    of = sources(FakeStandby())
    with pytest.raises(NotFound):
        await of.of_view("executions", 0, fail_with(NotFound(), of, []))


async def test_standby_must_reach_the_requested_position_of_a_view() -> None:
    of, read_from = sources(FakeStandby()), list[Any]()
    await of.of_view("executions", 0, fail_with(None, of, read_from))
    await of.of_view("executions", 7, fail_with(None, of, read_from))
    reached = [store.reached for store in read_from]
    assert reached == [None, StandbyCondition(VIEW_REACHES, (7, "executions"))]


async def test_log_is_bounded_on_the_standby_alone() -> None:
    of = sources(FakeStandby())
    asked: list[tuple[Any, int]] = []

    async def read(store: Store, until: int) -> None:
        asked.append((cast(FakeStore, store).reached, until))
        if store is not of.primary:
            raise Overloaded

    await of.of_log(7, read)
    assert asked == [(StandbyCondition(LOG_REACHES, (7,)), 7), (None, NEWEST)]


@pytest.mark.parametrize(
    ("position", "wanted", "settled", "answers"),
    [
        (10, 0, True, True),
        (10, 12, True, True),
        (10, 0, False, False),  # it may become another state
        (10, 13, True, False),  # minPosition is beyond what the standby has
        (11, 0, True, False),  # the primary has not shown that event
    ],
)
async def test_past_is_read_from_the_standby_if_it_will_never_change(
    position: int, wanted: int, *, settled: bool, answers: bool
) -> None:
    async def read(_: Store) -> LoadedState:
        return at(position)

    found = await sources(FakeStandby()).of_past(wanted, read, lambda _: settled)
    assert (found is not None) == answers


@pytest.mark.parametrize("error", [Overloaded(), Damaged(stream="a", version=1)])
async def test_past_that_the_standby_cannot_read_is_read_from_the_primary(error: Exception) -> None:
    async def read(_: Store) -> LoadedState:
        raise error

    assert await sources(FakeStandby()).of_past(0, read, lambda _: True) is None
    missing = LoadedState(None, 12, NOON + timedelta(seconds=1))

    async def read_nothing(_: Store) -> LoadedState:
        return missing

    assert await sources(FakeStandby()).of_past(0, read_nothing, lambda _: True) is None
