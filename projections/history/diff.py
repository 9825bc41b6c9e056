"""The differences between two versions of an execution, each with the event that made it. No I/O.

States share what an event did not touch: an unchanged step is the same object before and after. So
only what differs is made into documents, and what a comparison costs follows from what changed.
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
    """Follows an execution from one version to a later one; `erased`: its key was destroyed."""

    def __init__(self, first: Versioned[Execution], *, erased: bool) -> None:
        self._erased = erased
        self._first = self._last = first
        self._head = self._without_steps(first)
        self._blame: Blame[Recorded] = Blame()

    def add(self, event: Recorded, after: Versioned[Execution]) -> None:
        """The next event, and the state that it led to."""
        before, old, new = self._last, self._head, self._without_steps(after)
        changed = _changed_steps(before.state, after.state)
        old = old | {"steps": self._steps(before.state, changed)}
        self._blame.note(event, old, new | {"steps": self._steps(after.state, changed)})
        self._last, self._head = after, new

    async def patch(self, budget: Budget) -> AsyncIterator[Caused[Recorded]]:
        """The operations that lead from the first document to the last, in order.

        Raises:
            TooExpensive: it takes more than the budget has.
        """
        first, last = self._first.state, self._last.state
        same = first.assignee == last.assignee
        steps: dict[str, Document] = {}
        begin, end = [], []
        for number, step in enumerate(first.steps.values()):
            steps[step.id] = self._step(first, step)
            begin.append(steps[step.id])
            await _at_times(budget, number)
        for number, step in enumerate(last.steps.values()):
            unchanged = same and first.steps.get(step.id) is step
            end.append(steps[step.id] if unchanged else self._step(last, step))
            await _at_times(budget, number)
        before = self._without_steps(self._first) | {"steps": begin}
        for number, caused in enumerate(self._blame.patch(before, self._head | {"steps": end})):
            yield caused
            await _at_times(budget, number)

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


async def _at_times(budget: Budget, number: int) -> None:
    if number % YIELD_EVERY == 0:
        await budget.let_others_run()


def _changed_steps(before: Execution, after: Execution) -> Sequence[str]:
    """The ids of the steps that are shown otherwise than before, or were not there: none ever goes."""
    old, new = before.steps, after.steps
    changed = map(is_not, new.values(), map(old.get, new))  # all in C: there may be thousands
    if before.assignee != after.assignee:  # it fills in what those of the steps leave out
        changed = map(or_, changed, (step.assignee is not None for step in new.values()))
    return [*compress(new, changed)]
