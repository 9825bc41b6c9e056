"""The lifecycle transitions of XES events, and the commands to steps and executions that they become."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from api.interop.xes.mapping import load_mapping
from api.interop.xes.names import wire_time
from api.interop.xes.plan import Plan, plan_trace
from api.interop.xes.reader import XesEvent, XesTrace
from domain.catalog.order import Order
from domain.catalog.service import Service
from domain.execution.commands import COMMANDS
from domain.execution.state import Execution
from tests.support.given import Given
from tests.support.paths import DATA

CAKES = load_mapping(DATA / "orders.mapping.json")
EIGHT = datetime(2024, 3, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
KNOWN = {
    "service__cake": Service("cake", "A cake", "bakery"),
    "order__log": Order("log", "cake", "guests", "bakery"),
}


def plan_of(*words: str, hours: list[int] | None = None) -> Plan:
    """The plan of a trace of events such as "Bake start anna", one an hour from eight."""
    events = []
    for place, word in enumerate(words):
        activity, transition, *who = word.split()
        attributes: dict[str, Any] = {"lifecycle:transition": transition}
        if who:
            attributes["org:resource"] = who[0]
        at = EIGHT + HOUR * (hours[place] if hours else place)
        events.append(XesEvent(10 + place, activity, at, attributes))
    return plan_trace(XesTrace(2, "t", {}, events), CAKES, "log")


def apply_plan(plan: Plan) -> Execution:
    """The execution that results from the commands of a plan, all of which the domain accepts."""
    given = Given(f"execution/{plan.execution}", importing=True).knowing(**KNOWN)
    for encoded in plan.commands:
        body = orjson.loads(encoded)
        command = COMMANDS[body.pop("command")]
        del body["execution"]
        assert body.pop("ifMatch", given.version) == given.version
        outcome = given.when(command.model_validate_json(orjson.dumps(body)))
        given = outcome.then(*outcome.events)
    assert given.version == plan.version
    state: Execution = given.state
    return state


TRACES: list[tuple[str, str]] = [
    ("Bake schedule", "Bake=pending"),
    ("Bake schedule, Bake start", "Bake=running"),
    ("Bake start, Bake complete", "Bake=completed"),
    ("Bake complete", "Bake=completed"),
    ("Bake autoskip", "Bake=skipped"),
    ("Bake schedule, Bake manualskip", "Bake=skipped"),
    ("Bake start, Bake manualskip", "Bake=running Bake#2=skipped"),
    ("Bake schedule, Bake withdraw", "Bake=skipped"),
    ("Bake start, Bake withdraw", "Bake=running"),
    ("Bake start, Bake ate_abort", "Bake=failed"),
    ("Bake schedule, Bake ate_abort", "Bake=skipped"),
    ("Bake start, Bake ate_abort, Bake start", "Bake=failed Bake#2=running"),
    ("Bake assign anna", "Bake=pending"),
    ("Bake schedule, Bake assign anna, Bake start", "Bake=running"),
    ("Bake start, Bake suspend, Bake resume, Bake complete", "Bake=completed"),
    ("Bake start, Stir pi_abort", "Bake=skipped"),
    ("Bake START, Bake Complete", "Bake=completed"),
]


@pytest.mark.parametrize(("trace", "steps"), TRACES)
def test_transition_changes_a_step_as_the_standard_says(trace: str, steps: str) -> None:
    plan = plan_of(*trace.split(", "))
    made = apply_plan(plan)
    assert " ".join(f"{step.id}={step.status}" for step in made.steps.values()) == steps
    counts = Counter(str(step.status) for step in made.steps.values())
    assert {kind: count for kind, count in plan.steps.items() if count} == counts


@pytest.mark.parametrize(
    ("trace", "left_out"),
    [
        ("Bake start, Bake suspend, Bake resume", {"SUSPEND": 1, "RESUME": 1}),
        ("Bake start, Bake withdraw", {"WITHDRAW": 1}),
        ("Bake ate_abort", {"ATE_ABORT": 1}),
        ("Bake unknown", {"UNKNOWN": 1}),
        ("Bake schedule, Bake assign", {"ASSIGN": 1}),
        ("Bake schedule, Bake reassign anna", {"REASSIGN": 1}),
        ("Bake schedule, Bake assign anna", {"ASSIGN": 1}),
        ("Bake schedule, Bake assign anna, Bake withdraw", {"ASSIGN": 1}),
        ("Bake schedule, Bake assign anna, Bake reassign bert, Bake start", {"ASSIGN": 1}),
        ("Bake assign anna, Bake reassign bert, Bake start", {}),
        ("Bake schedule, Bake assign anna, Bake start", {}),
        ("Bake start, Bake pi_abort", {}),
    ],
)
def test_transition_without_a_matching_step_is_counted(
    trace: str, left_out: dict[str, int]
) -> None:
    assert plan_of(*trace.split(", ")).ignored == left_out


@pytest.mark.parametrize(
    ("trace", "assignee"),
    [
        ("Bake schedule, Bake assign anna, Bake start", "anna"),
        ("Bake schedule, Bake assign anna, Bake start bert", "bert"),
        ("Bake schedule, Bake assign anna, Bake reassign bert, Bake start", "bert"),
        ("Bake assign anna, Bake reassign bert, Bake complete", "bert"),
        ("Bake assign anna, Bake start", "anna"),
        ("Bake assign anna", "anna"),
    ],
)
def test_assignee_is_the_latest_that_was_named(trace: str, assignee: str) -> None:
    step = apply_plan(plan_of(*trace.split(", "))).steps["Bake"]
    assert step.assignee is not None
    assert step.assignee.id == assignee


def test_assignments_go_to_pending_rounds_in_their_order() -> None:
    words = ["schedule", "schedule", "assign anna", "assign bert", "start", "start"]
    steps = apply_plan(plan_of(*(f"Bake {word}" for word in words))).steps.values()
    assert [step.assignee.id for step in steps if step.assignee] == ["anna", "bert"]


def test_aborted_step_fails_with_a_code_of_its_own() -> None:
    error = apply_plan(plan_of("Bake start", "Bake ate_abort")).steps["Bake"].error
    assert error is not None
    assert (error.code, error.message) == ("ATE_ABORT", "Bake")


@pytest.mark.parametrize("transition", ["autoskip", "manualskip", "withdraw"])
def test_skipped_step_has_its_transition_as_the_reason(transition: str) -> None:
    made = apply_plan(plan_of("Bake schedule", f"Bake {transition}"))
    assert made.steps["Bake"].reason == transition


@pytest.mark.parametrize(
    ("trace", "status"),
    [
        ("Bake start, Bake pi_abort", "cancelled"),
        ("Deliver complete, Bake pi_abort", "cancelled"),
        ("Bake pi_abort, Deliver complete", "completed"),
        ("Deliver ate_abort", "running"),
        ("Burn complete", "failed"),
    ],
)
def test_process_abort_cancels_unless_a_later_event_decides(trace: str, status: str) -> None:
    plan = plan_of(*trace.split(", "))
    assert plan.status == apply_plan(plan).status == status


def test_trace_stays_running_if_the_mapping_has_no_outcomes() -> None:
    mapping = CAKES.model_copy(update={"outcomes": {}})
    trace = XesTrace(2, "t", {}, [XesEvent(3, "Deliver", EIGHT, {})])
    assert plan_trace(trace, mapping, "log").status == "running"


def test_end_before_its_start_is_moved_to_the_start_and_counted() -> None:
    plan = plan_of("Bake start", "Bake complete", "Deliver complete", hours=[1, 0, 0])
    create, start, complete, _, _, end = map(orjson.loads, plan.commands)
    assert plan.moved_times == 1
    assert complete["occurredAt"] == start["occurredAt"] == wire_time(EIGHT + HOUR)
    assert create["occurredAt"] == wire_time(EIGHT)
    assert end["occurredAt"] == plan.ended_at == wire_time(EIGHT + HOUR)
