"""States are made and changed without their constructor, and equal the constructed ones."""

from __future__ import annotations

import pytest

from domain.execution.parts import Step
from domain.execution.types import StepStatus
from domain.model import aggregate_id


def test_made_state_equals_the_constructed_one() -> None:
    made = Step.make(id="one", name="One", status=StepStatus.RUNNING)
    assert made == Step("one", "One", StepStatus.RUNNING)
    assert made.evolve(name="Two") == Step("one", "Two", StepStatus.RUNNING)
    assert Step.make(id="one", name="One").attempt == 0


def test_made_states_share_no_members() -> None:
    one, other = Step.make(id="one", name="One"), Step.make(id="two", name="Two")
    one.__dict__["_kept"] = True
    assert "_kept" not in other.__dict__
    with pytest.raises(AttributeError):
        one.name = "changed"  # type: ignore[misc]  # that is the claim


def test_id_of_an_aggregate_follows_its_kind() -> None:
    assert aggregate_id("execution/a:b") == "a:b"


def test_members_of_a_made_state_are_in_the_order_of_a_constructed_one() -> None:
    made = Step.make(id="a", name="A", started_at=None)
    assert list(vars(made)) == list(vars(Step(id="a", name="A")))
