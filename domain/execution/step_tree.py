"""Steps within steps: who may be whose parent."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from domain.errors import Invalid
from domain.execution.parts import Step
from domain.execution.types import StepPlan


def check_parents(plans: Sequence[StepPlan], known: Container[str] = ()) -> None:
    """The parent of a planned step is another step, planned with it or there already.

    Raises:
        Invalid: there is no such step, or a step would be part of itself.
    """
    parents = {plan.id: plan.parent for plan in plans}
    sound: set[str] = set()
    for index, plan in enumerate(plans):
        path = f"steps.{index}.parent"
        if plan.parent is not None and plan.parent not in parents:
            check_parent(path, plan.id, plan.parent, known)
        elif _goes_round(plan.id, parents, sound):
            message = f"makes a circle: `{plan.id}` would be part of itself through `{plan.parent}`"
            raise Invalid.field(path, message)


def check_parent(path: str, step: str, parent: str | None, known: Container[str]) -> None:
    """The parent of a new step is a step that is there already.

    Raises:
        Invalid: it is not; `path` is the field that names it.
    """
    if parent == step:
        raise Invalid.field(path, f"makes a circle: `{step}` would be part of itself")
    if parent is not None and parent not in known:
        raise Invalid.field(path, f"`{parent}` is not the id of a step of this execution")


def check_same_place(step: Step, given: Mapping[str, str | None]) -> None:
    """A step that is there stays what it is, and where: `given` are its kind and parent, if any.

    Raises:
        Invalid: one of them is another.
    """
    for name, value in given.items():
        present = getattr(step, name)
        if value is not None and value != present:
            declared = "without one" if present is None else f"with `{present}`"
            raise Invalid.field(name, f"`{value}`: the step `{step.id}` was declared {declared}")


def _goes_round(step: str, parents: Mapping[str, str | None], sound: set[str]) -> bool:
    """Whether the way up from a step comes back; `sound` are steps whose way is known to end."""
    way: dict[str, None] = {}
    at: str | None = step
    while at is not None and at not in sound:
        if at in way:
            return True
        way[at] = None
        at = parents.get(at)
    sound.update(way)
    return False
