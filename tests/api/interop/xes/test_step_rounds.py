"""Rounds of steps: the steps that the events of a trace start, end and assign."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.interop.xes.step_rounds import Rounds

Act = tuple[str, str]
ACTS = st.lists(
    st.tuples(st.sampled_from(["schedule", "start", "complete"]), st.sampled_from("AB"))
)


def play(acts: list[Act]) -> list[tuple[str, str]]:
    """The step of each act, and its result."""
    rounds, received = Rounds(), []
    for act, activity in acts:
        if act == "schedule":
            received.append((rounds.schedule(activity), "pending"))
        elif act == "start":
            received.append((rounds.start(activity), "running"))
        else:
            received.append((rounds.complete(activity)[0], "completed"))
    return received


def model(acts: list[Act]) -> list[tuple[str, str]]:
    """The rule as a model: a list of rounds, searched from its beginning."""
    rounds: list[dict[str, str]] = []

    def oldest(activity: str, *wanted: str) -> dict[str, str]:
        own = [one for one in rounds if one["activity"] == activity]
        for state in wanted:
            for one in own:
                if one["state"] == state:
                    return one
        name = activity if not own else f"{activity}#{len(own) + 1}"
        rounds.append({"activity": activity, "step": name})
        return rounds[-1]

    received = []
    for act, activity in acts:
        wanted = {"schedule": (), "start": ("pending",), "complete": ("running", "pending")}[act]
        one = oldest(activity, *wanted)
        one["state"] = {"schedule": "pending", "start": "running", "complete": "completed"}[act]
        received.append((one["step"], one["state"]))
    return received


@given(ACTS)
def test_rounds_follow_the_rule_for_every_trace(acts: list[Act]) -> None:
    assert play(acts) == model(acts)


@given(ACTS)
def test_counts_are_those_of_the_steps(acts: list[Act]) -> None:
    rounds = Rounds()
    for act, activity in acts:
        getattr(rounds, act)(activity)
    counts = Counter(dict(model(acts)).values())
    assert (rounds.pending, rounds.running, rounds.ended["completed"]) == (
        counts["pending"],
        counts["running"],
        counts["completed"],
    )


@pytest.mark.parametrize(
    ("acts", "steps"),
    [
        ("schedule start complete", "A A A"),
        ("schedule schedule start start", "A A#2 A A#2"),
        ("complete complete complete", "A A#2 A#3"),
        ("start schedule complete complete", "A A#2 A A#2"),
        ("start start complete schedule start", "A A#2 A A#3 A#3"),
    ],
)
def test_rounds_of_example_traces(acts: str, steps: str) -> None:
    assert [step for step, _ in play([(act, "A") for act in acts.split()])] == steps.split()


def test_activity_named_like_a_round_is_a_step_of_its_own() -> None:
    acts = [("complete", name) for name in ("A#2", "A", "A", "A")]
    assert [step for step, _ in play(acts)] == ["A#2", "A", "A#3", "A#4"]
