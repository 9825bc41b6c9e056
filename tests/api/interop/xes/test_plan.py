"""The plan of an import: the executions, names and commands that a log becomes."""

import os
import re
import statistics
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.interop.xes.mapping import Mapping, MappingError, load_mapping
from api.interop.xes.names import execution_id, id_part, metadata
from api.interop.xes.plan import Plan
from api.interop.xes.reader import XesError
from api.interop.xes.survey import plans, survey
from tests.support.fake_service import JSON, Folded, created
from tests.support.paths import DATA

ORDERS = DATA / "orders.xes"
CAKES = load_mapping(DATA / "orders.mapping.json")
NOW = datetime(2024, 6, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
NAMES = st.text(min_size=1, max_size=300)


def fold(plan: Plan) -> Folded:
    first, *others = map(orjson.loads, plan.commands)
    execution = created(first)
    for command in others:
        assert command["ifMatch"] == execution.version
        execution.apply(command)
    assert (execution.version, execution.status) == (plan.version, plan.status)
    return execution


@pytest.fixture
def cakes() -> list[Plan]:
    return list(plans(ORDERS, CAKES, "Cakes to order"))


def commands(plan: Plan) -> list[JSON]:
    return [orjson.loads(command) for command in plan.commands]


def test_trace_is_an_execution_with_its_attributes_as_metadata(cakes: list[Plan]) -> None:
    order = id_part("Cakes to order")
    assert commands(cakes[0])[0] == {
        "command": "create",
        "execution": f"{order}:cake-1",
        "occurredAt": "2024-03-01T07:00:00.000Z",
        "order": order,
        "service": "cake",
        "status": "running",
        "timeout": 0,
        "metadata": {
            "concept:name": "cake-1",
            "tiers": 3,
            "weight": 2.5,
            "gluten": False,
            "ordered": "2024-03-01T07:00:00.000Z",
            "ticket": "7f1b2c1e-4b0a-4f7e-9d0e-0d3a5f6b7c8d",
            "xes:version": "second",
        },
    }


def test_events_are_step_commands_with_their_times_people_and_attributes(cakes: list[Plan]) -> None:
    received = [
        {k: v for k, v in command.items() if k not in {"execution", "occurredAt"}}
        for command in commands(cakes[0])[1:]
    ]
    anna = {"type": "human", "id": "anna"}
    emile = {"type": "human", "id": id_part("Émile Petit"), "name": "Émile Petit"}
    call = {"output": {"channel": "telephone"}}
    minutes = {"output": {"minutes": 60}}
    start, complete = {"command": "startStep"}, {"command": "completeStep"}
    steps = [{"id": "Bake", "name": "Bake"}]
    assert received == [
        {**start, "step": "Order", "name": "Order", "ifMatch": 3},
        {**complete, "step": "Order", **call, "ifMatch": 4},
        {"command": "declareSteps", "steps": steps, "ifMatch": 5},
        {**start, "step": "Bake", "name": "Bake", "assignee": anna, "ifMatch": 6},
        {**complete, "step": "Bake", **minutes, "ifMatch": 7},
        {**start, "step": "Bake#2", "name": "Bake", "assignee": emile, "ifMatch": 8},
        {**start, "step": "Deliver", "name": "Deliver", "ifMatch": 9},
        {**complete, "step": "Deliver", "ifMatch": 10},
        {
            "command": "complete",
            "success": True,
            "output": None,
            "summary": "Deliver",
            "ifMatch": 11,
        },
    ]


def test_mapping_determines_how_a_trace_ends(cakes: list[Plan]) -> None:
    ends = [commands(plan)[-1] for plan in cakes]
    assert [end["command"] for end in ends] == ["complete", "fail", "cancel", "startStep"]
    assert ends[1]["code"] == "BURNT"
    assert ends[1]["recoverable"] is False


def test_execution_ends_with_its_last_event_and_not_with_the_deciding_one(
    cakes: list[Plan],
) -> None:
    assert cakes[2].ended_at == commands(cakes[2])[-1]["occurredAt"] == "2024-03-03T08:31:00.000Z"


def test_plans_count_what_the_commands_make(cakes: list[Plan]) -> None:
    for plan in cakes:
        counts = Counter(fold(plan).steps.values())
        assert counts == Counter({word: n for word, n in plan.steps.items() if n})


def test_survey_counts_the_whole_log() -> None:
    mapping = CAKES.model_copy(update={"outcomes": {**CAKES.outcomes, "Explode": "failed"}})
    found = survey(ORDERS, mapping, NOW, lambda _: None)
    assert found.log == "Cakes to order"
    assert found.executions == {"completed": 1, "failed": 1, "cancelled": 1, "running": 1}
    assert found.steps == {"completed": 7, "failed": 0, "skipped": 2, "pending": 0, "running": 1}
    assert (found.events, found.empty_traces) == (13, 1)
    assert found.ignored_events == {"SUSPEND": 1}
    assert found.unused_outcomes == ["Explode"]


def test_log_without_a_name_gets_the_name_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "cakes.xes.gz"
    file.write_text("<log/>")
    assert survey(file, CAKES, NOW, lambda _: None).log == "cakes"


def test_event_in_the_future_is_refused_with_its_line() -> None:
    with pytest.raises(XesError, match="line 83: the event lies in the future"):
        survey(ORDERS, CAKES, datetime(2024, 3, 3, 8, 30, tzinfo=UTC), lambda _: None)


@pytest.mark.parametrize(
    ("before", "after", "line", "reason"),
    [
        ('"Bake"/>', f'"{"B" * 250}"/>', 31, "longer than 249 characters"),
        ('"Bake"/>', '"Bake&#10;"/>', 31, "has a control character"),
        ('"anna"', f'"{"a" * 1001}"', 36, "longer than 1000 characters"),
        ('"telephone"', f'"{"t" * (1 << 20)}"', 26, "exceed 1048576 bytes"),
    ],
)
def test_survey_refuses_events_beyond_the_limits_of_the_service(
    tmp_path: Path, before: str, after: str, line: int, reason: str
) -> None:
    file = tmp_path / "log.xes"
    file.write_text(ORDERS.read_text().replace(before, after))
    with pytest.raises(XesError, match=f"line {line}: .*{reason}"):
        survey(file, CAKES, NOW, lambda _: None)


@given(NAMES, NAMES, NAMES, NAMES)
def test_ids_are_legal_and_distinct_names_stay_distinct(a: str, b: str, c: str, d: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~:-]{1,255}", execution_id(a, b))
    assert (execution_id(a, b) == execution_id(c, d)) == ((a, b) == (c, d))


@pytest.mark.parametrize("name", ["a b", "a-b", "a~b", "a:b", "ä", "a" * 127, "a" * 128])
def test_name_is_used_as_an_id_only_if_legal(name: str) -> None:
    legal = re.fullmatch(r"[A-Za-z0-9._-]{1,127}", name)
    assert (id_part(name) == name) == bool(legal)


@given(
    st.dictionaries(
        st.sampled_from(["", "$id", "version", "xes:version", "xes:", "k"]), st.integers()
    )
)
def test_metadata_has_every_attribute_and_no_reserved_key(given_keys: dict[str, int]) -> None:
    kept = metadata(dict(given_keys))
    assert sorted(kept.values(), key=str) == sorted(given_keys.values(), key=str)
    assert not kept.keys() & {"", "$id", "version"}


def test_metadata_has_only_values_of_json() -> None:
    assert metadata({"a": float("inf"), "b": float("-inf"), "c": 1.5, "d": NOW}) == {
        "a": "INF",
        "b": "-INF",
        "c": 1.5,
        "d": "2024-06-01T00:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"provider"', '"providers"', "service.provider: is required"),
        (
            '"customer"',
            '"costumer"',
            "costumer: is not known here; there are `service`, `customer`, `outcomes`, `failure`",
        ),
        (
            '"provider"',
            '"provided"',
            "service.provided: is not known here; there are `$id`, `name`, `provider`",
        ),
        ('"bakery"', '"the bakery"', "service.provider: must be 1 to 255 characters of"),
        (
            '"failed"',
            '"lost"',
            "outcomes.Burn: must be one of `completed`, `failed` or `cancelled`",
        ),
        ("false", '"no"', "failure.recoverable: must be true or false, but is the text `no`"),
        ("}}", "", "the file: is not well-formed JSON: EOF"),
    ],
)
def test_wrong_mapping_is_refused_by_field(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    file = tmp_path / "mapping.json"
    file.write_text((DATA / "orders.mapping.json").read_text().replace(before, after))
    with pytest.raises(MappingError) as refused:
        load_mapping(file)
    assert said in str(refused.value)


@pytest.fixture
def real_log() -> Path:
    """The BPI Challenge 2012 log (B. van Dongen, 4TU.ResearchData)."""
    path = os.environ.get("REAL_PROCESS_LOG")
    if not path:
        pytest.skip("REAL_PROCESS_LOG is not set")
    return Path(path)


LOANS = Mapping.model_validate_json("""
{"service": {"$id": "loan-application", "name": "Loan application", "provider": "bank"},
 "customer": "applicants",
 "outcomes": {"A_APPROVED": "completed", "A_DECLINED": "failed", "A_CANCELLED": "cancelled"},
 "failure": {"code": "DECLINED", "recoverable": false}}
""")


def test_totals_of_a_real_log_are_correct(real_log: Path, thorough: bool) -> None:
    """DOI 10.4121/uuid:3926db30-f712-4394-aebc-75976070e91f."""
    if not thorough:
        pytest.skip("takes 10 s; the totals of its first traces are checked in the service")
    steps, items = Counter[str](), Counter[str]()
    durations: dict[str, list[int]] = {
        "completed": [],
        "failed": [],
        "cancelled": [],
        "running": [],
    }
    for plan in plans(real_log, LOANS, "BPI Challenge 2012"):
        execution = fold(plan)
        steps.update(execution.steps.values())
        items.update(step.partition("#")[0] for step in execution.steps)
        took = execution.duration // MILLISECOND if execution.ended else 0
        durations[execution.status].append(took)
    assert {status: len(all_of) for status, all_of in durations.items()} == {
        "completed": 2246,
        "failed": 7635,
        "cancelled": 2807,
        "running": 399,
    }
    assert steps == {"completed": 164_506, "skipped": 12, "pending": 59, "running": 3}
    assert items["W_Completeren aanvraag"] == 23_967
    assert items["W_Nabellen offertes"] == 22_987
    assert items["W_Nabellen incomplete dossiers"] == 11_407
    assert items["W_Valideren aanvraag"] == 7_946
    completed, failed = durations["completed"], durations["failed"]
    assert round(statistics.mean(completed)) == 1_445_937_864
    assert round(statistics.median(completed)) == 1_251_548_820
    assert max(completed) == 11_855_936_012
    assert round(statistics.mean(failed)) == 176_955_304
    assert round(statistics.median(failed)) == 676_398
