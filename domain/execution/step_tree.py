"""Checks the parents of steps, which form a tree."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from domain.errors import Invalid
from domain.execution.parts import Step
from domain.execution.types import StepPlan


def check_parents(plans: Sequence[StepPlan], known: Container[str] = ()) -> None:
    """Check that the parent of each declared step is another step, declared with it or before.

    Raises:
        Invalid: there is no such step, or a step would be part of itself.
    """
    parents = {plan.id: plan.parent for plan in plans}
    sound: set[str] = set()
    for index, plan in enumerate(plans):
        path = f"steps.{index}.parent"
        if plan.parent is not None and plan.parent not in parents:
            check_parent(path, plan.id, plan.parent, known)
        elif _is_in_circle(plan.id, parents, sound):
            message = f"makes a circle: `{plan.id}` would be part of itself through `{plan.parent}`"
            raise Invalid.field(path, message)


def check_parent(path: str, step: str, parent: str | None, known: Container[str]) -> None:
    """Check that the parent of a new step is an existing step.

    Raises:
        Invalid: it is not; the error is about the field `path`.
    """
    if parent == step:
        raise Invalid.field(path, f"makes a circle: `{step}` would be part of itself")
    if parent is not None and parent not in known:
        raise Invalid.field(path, f"`{parent}` is not the id of a step of this execution")


def check_same_place(step: Step, given: Mapping[str, str | None]) -> None:
    """Check that a command names no other kind and no other parent than an existing step has.

    Raises:
        Invalid: one of them, in `given`, differs.
    """
    for name, value in given.items():
        present = getattr(step, name)
        if value is not None and value != present:
            declared = "without one" if present is None else f"with `{present}`"
            raise Invalid.field(name, f"`{value}`: the step `{step.id}` was declared {declared}")


def _is_in_circle(step: str, parents: Mapping[str, str | None], sound: set[str]) -> bool:
    """Whether the ancestors of a step form a circle. `sound` collects the steps whose ancestors form none."""
    visited: dict[str, None] = {}
    at: str | None = step
    while at is not None and at not in sound:
        if at in visited:
            return True
        visited[at] = None
        at = parents.get(at)
    sound.update(visited)
    return False
