"""Finds the differences between two versions of an execution, each with the event that caused it. No I/O.

The states before and after an event share the objects that the event did not change, such as steps. So documents are
made only of the steps that changed, and the cost of a comparison depends on the number of changes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import compress
from operator import is_not, or_
from typing import Any

import orjson

from domain.budget import Budget
from domain.execution.parts import Step
from domain.execution.state import Execution
from domain.model import Recorded, Versioned
from projections.history.json_patch import Blame, Caused
from projections.representations.client_json import plain_json
from projections.representations.execution import document
from projections.representations.step import step_document

YIELD_EVERY = 100

Document = dict[str, Any]


class Diff:
    """The differences from one version of an execution to a later one. `erased`: the data key was destroyed."""

    def __init__(self, first: Versioned[Execution], *, erased: bool) -> None:
        self._erased = erased
        self._first = self._last = first
        self._head = self._without_steps(first)
        self._blame: Blame[Recorded] = Blame()

    def add(self, event: Recorded, after: Versioned[Execution]) -> None:
        """Add the next event and the state after it."""
        before, old, new = self._last, self._head, self._without_steps(after)
        changed = _changed_steps(before.state, after.state)
        old = old | {"steps": self._steps(before.state, changed)}
        self._blame.note(event, old, new | {"steps": self._steps(after.state, changed)})
        self._last, self._head = after, new

    async def patch(self, budget: Budget) -> AsyncIterator[Caused[Recorded]]:
        """Yield the operations that change the first document to the last, in order.

        Raises:
            TooExpensive: the budget is exceeded.
        """
        first, last = self._first.state, self._last.state
        same = first.assignee == last.assignee
        steps: dict[str, Document] = {}
        begin, end = [], []
        for number, step in enumerate(first.steps.values()):
            steps[step.id] = self._step(first, step)
            begin.append(steps[step.id])
            await _yield_sometimes(budget, number)
        for number, step in enumerate(last.steps.values()):
            unchanged = same and first.steps.get(step.id) is step
            end.append(steps[step.id] if unchanged else self._step(last, step))
            await _yield_sometimes(budget, number)
        before = self._without_steps(self._first) | {"steps": begin}
        for number, caused in enumerate(self._blame.patch(before, self._head | {"steps": end})):
            yield caused
            await _yield_sometimes(budget, number)

    def _without_steps(self, versioned: Versioned[Execution]) -> Document:
        return self._open(document(versioned, versioned.at, steps=()))

    def _steps(self, state: Execution, ids: Iterable[str]) -> list[Document]:
        return [self._step(state, state.steps[id_]) for id_ in ids if id_ in state.steps]

    def _step(self, state: Execution, step: Step) -> Document:
        return self._open(step_document(step, state.assignee))

    def _open(self, shown: Document) -> Document:
        if not self._erased:
            return shown
        opened: Document = orjson.loads(plain_json(shown))
        return opened


async def _yield_sometimes(budget: Budget, number: int) -> None:
    if number % YIELD_EVERY == 0:
        await budget.let_others_run()


def _changed_steps(before: Execution, after: Execution) -> Sequence[str]:
    """Return the ids of the steps whose documents may differ, or that are new. Steps are never removed."""
    old, new = before.steps, after.steps
    # `map` runs in C, as there may be thousands of steps.
    changed = map(is_not, new.values(), map(old.get, new))
    if before.assignee != after.assignee:  # steps take members of their assignee from it
        changed = map(or_, changed, (step.assignee is not None for step in new.values()))
    return [*compress(new, changed)]
