"""The diff of an execution is exact, names the causing events, and costs only what changed."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import given

from domain.budget import Budget
from domain.errors import TooExpensive
from domain.execution.events.steps import StepCompleted, StepsAdded
from domain.execution.types import StepPlan
from domain.model import Event, Recorded, Versioned, replay
from projections.history import diff as diff_module
from projections.history.diff import Diff
from projections.history.json_patch import Blame, Caused
from projections.representations.execution import document
from projections.representations.step import step_document
from tests.support.event_writer import NOON, created, started
from tests.support.json_patches import apply_patch, same
from tests.support.random_executions import CODEC, KEY, STREAM, creations, walk, ways

MISSING = object()


class Absent(NamedTuple):
    """There is no value at a path, as the member at this depth of the path is missing."""

    depth: int


def budget(seconds: float = 60.0) -> Budget:
    return Budget(seconds, TooExpensive())


def patch(states: list[Versioned[Any]], events: list[Recorded]) -> list[Caused[Recorded]]:
    """The diff from the first state to the last; each event led from one to the next."""
    diff = Diff(states[0], erased=False)
    for event, versioned in zip(events, states[1:], strict=True):
        diff.add(event, versioned)

    async def collected() -> list[Caused[Recorded]]:
        return [caused async for caused in diff.patch(budget())]

    return asyncio.run(collected())


def value_at(shown: Any, identity_path: tuple[Any, ...], without: list[tuple[Any, ...]]) -> Any:
    """The value at a path, list items found by identity, without the values at some inner paths."""
    for depth, key in enumerate(identity_path):
        shown = member(shown, key)
        if shown is MISSING:
            return Absent(depth)
    return prune(shown, identity_path, without)


def member(shown: Any, key: Any) -> Any:
    if isinstance(key, tuple):
        kind, identity = key
        for item in shown if isinstance(shown, list) else ():
            if item == identity if kind == "text" else item.get("id") == identity:
                return item
        return MISSING
    if isinstance(shown, list):
        return shown[key] if isinstance(key, int) and key < len(shown) else MISSING
    return shown.get(key, MISSING) if isinstance(shown, dict) else MISSING


def prune(shown: Any, identity_path: tuple[Any, ...], without: list[tuple[Any, ...]]) -> Any:
    if isinstance(shown, dict):
        return {
            name: prune(value, (*identity_path, name), without)
            for name, value in shown.items()
            if (*identity_path, name) not in without
        }
    return shown


def find_cause_slowly(
    shown: list[Any], identity_path: tuple[Any, ...], later: list[tuple[Any, ...]]
) -> int:
    """The number of the last version at which the subject of the operation changed, or one around it appeared without it.

    A member that was added and removed meanwhile gets no operation, and does not count.
    """
    values = [value_at(one, identity_path, later) for one in shown]
    values = [remaining(one, values[-1]) for one in values]
    turns = [n for n, (old, new) in enumerate(pairwise(values), 1) if not equal(old, new)]
    return turns[-1]


def remaining(one: Any, last: Any) -> Any:
    """Of an object only the members that exist at the end."""
    if not (isinstance(one, dict) and isinstance(last, dict)):
        return one
    return {name: remaining(value, last[name]) for name, value in one.items() if name in last}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Absent) or isinstance(other, Absent):
        return one == other and type(one) is type(other)
    return same(one, other)


@given(creations, ways, st.data())
def test_patch_is_exact_and_its_operations_name_the_causing_events(
    creation: Any, way: list[Any], data: st.DataObject
) -> None:
    path = walk(creation, way)
    first = data.draw(st.integers(0, len(path.states) - 1))
    last = data.draw(st.integers(first, len(path.states) - 1))
    states = path.states[first : last + 1]
    events = [CODEC.decode(row, KEY) for row in path.rows[first + 1 : last + 1]]
    found = patch(states, events)
    shown = [document(versioned, versioned.at) for versioned in states]
    assert same(apply_patch(shown[0], [caused.change for caused in found]), shown[-1])
    changed = [caused.change.identity_path for caused in found]
    for change, cause in found:
        later = [at for at in changed if len(at) > len(change.identity_path)]
        if not any(isinstance(key, int) for key in change.identity_path):
            assert cause.version - states[0].version == find_cause_slowly(
                shown, change.identity_path, later
            )


@given(creations, ways)
def test_diff_equals_the_patch_between_whole_documents(creation: Any, way: list[Any]) -> None:
    path = walk(creation, way)
    events = [CODEC.decode(row, KEY) for row in path.rows[1:]]
    shown = [document(versioned, versioned.at) for versioned in path.states]
    blame: Blame[Recorded] = Blame()
    for event, (before, after) in zip(events, pairwise(shown), strict=True):
        blame.note(event, before, after)
    assert patch(path.states, events) == list(blame.patch(shown[0], shown[-1]))


def history(steps: int, completed: int) -> tuple[list[Versioned[Any]], list[Recorded]]:
    """An execution of this many steps, and the completion of some of them."""
    plans = tuple(StepPlan(id=f"s-{n}", name="Step") for n in range(steps))
    happened: list[Event] = [created("e-1").event, *(h.event for h in started("e-1"))]
    happened += [StepsAdded(steps=plans)]
    happened += [StepCompleted(step=f"s-{n}", output=n) for n in range(completed)]
    states: list[Versioned[Any]] = []
    events = []
    for number, event in enumerate(happened, 1):
        recorded = Recorded(STREAM, number, number, NOON, event, "t")
        versioned = replay(states[-1] if states else None, [recorded])
        assert versioned is not None
        states.append(versioned)
        events.append(recorded)
    return states[3:], events[4:]


def test_only_changed_steps_are_made_into_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def count_call(step: Any, *more: Any) -> dict[str, Any]:
        made.append(step.id)
        return step_document(step, *more)

    monkeypatch.setattr(diff_module, "step_document", count_call)
    states, events = history(steps=1_000, completed=50)
    found = patch(states, events)
    assert len([caused for caused in found if caused.change.path.endswith("/output")]) == 50
    # Each once at the beginning, changed ones at the end, and before and after each event.
    assert len(made) == 1_000 + 50 + 2 * 50


def test_list_comparison_visits_an_item_a_bounded_number_of_times() -> None:
    """Comparing each item with all others would take a hundred million comparisons."""
    looks = 0

    class Id(str):
        __slots__ = ()

        def __hash__(self) -> int:
            nonlocal looks
            looks += 1
            return super().__hash__()

    before = [{"id": Id(n), "v": 1} for n in range(10_000)]
    after = [*before, {"id": Id("new"), "v": 1}]
    blame: Blame[int] = Blame()
    blame.note(1, before, after)
    assert [change.path for change, _ in blame.patch(before, after)] == ["/10000"]
    assert looks < 50 * len(before)


def test_diff_beyond_its_budget_is_refused() -> None:
    states, events = history(steps=10, completed=5)
    diff = Diff(states[0], erased=False)
    for event, versioned in zip(events, states[1:], strict=True):
        diff.add(event, versioned)
    moments = iter(range(1_000))  # each read of this clock is a second later
    short = Budget(1.5, TooExpensive(), clock=lambda: float(next(moments)))

    async def collected() -> None:
        async for _ in diff.patch(short):
            pass

    with pytest.raises(TooExpensive):
        asyncio.run(collected())
