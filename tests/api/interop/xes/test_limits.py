"""A log with more than an execution may have is refused before anything is sent."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.interop.xes import limits
from api.interop.xes.mapping import load_mapping
from api.interop.xes.plan import plan_trace
from api.interop.xes.reader import XesError, XesEvent, XesTrace
from api.interop.xes.survey import Survey, survey
from domain.execution.commands import COMMANDS
from domain.execution.types import MOST_STEPS
from domain.writer.batch import STREAM_SIZE_LIMIT
from tests.support.paths import DATA

CAKES = load_mapping(DATA / "orders.mapping.json")
NOW = datetime(2024, 6, 1, tzinfo=UTC)
LARGE = 1 << 16
LogFile = Callable[[list[str]], Path]
"""Makes a log of one trace with these events, each on a line of its own, from line 3."""


@pytest.fixture
def log_file(tmp_path: Path) -> LogFile:
    def write(events: list[str]) -> Path:
        file = tmp_path / "log.xes"
        lines = ["<log>", "<trace><string key='concept:name' value='t'/>", *events]
        file.write_text("\n".join([*lines, "</trace></log>"]))
        return file

    return write


def event(activity: str, note: str = "") -> str:
    name = f"<string key='concept:name' value='{activity}'/>"
    time = "<date key='time:timestamp' value='2024-03-01T08:00:00Z'/>"
    return f"<event>{name}{time}<string key='note' value='{note}'/></event>"


def survey_file(file: Path) -> Survey:
    return survey(file, CAKES, NOW, lambda _: None)


def test_trace_has_at_most_as_many_steps_as_an_execution(
    log_file: LogFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vars(limits)["MOST_STEPS"] == MOST_STEPS
    monkeypatch.setattr(limits, "MOST_STEPS", 100)
    events = [event("Bake") for _ in range(100)]
    assert survey_file(log_file(events)).steps["completed"] == 100
    with pytest.raises(XesError) as refused:
        survey_file(log_file([*events, event("Deliver")]))
    assert str(refused.value) == 'line 103: with this event the trace "t" has more than 100 steps'


def test_trace_has_at_most_as_much_content_as_an_execution(
    log_file: LogFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content grows by a third when it is encrypted; small content is accepted beyond the limit."""
    assert vars(limits)["STREAM_SIZE_LIMIT"] == STREAM_SIZE_LIMIT
    monkeypatch.setattr(limits, "STREAM_SIZE_LIMIT", 32 * LARGE)
    large = [event("Bake", "x" * (LARGE - 1000)) for _ in range(24)]
    assert survey_file(log_file([*large[:23], event("Deliver")])).executions["completed"] == 1
    with pytest.raises(XesError) as refused:
        survey_file(log_file(large * 2))
    assert (refused.value.line, str(32 * LARGE) in refused.value.reason) == (27, True)
    small = [event("Stir", "x" * 1000) for _ in range(100)]
    assert survey_file(log_file([*large, *small])).steps["completed"] == 124


def test_every_command_is_checked_by_the_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """So limits that only the domain checks are found before anything is sent."""
    at = datetime(2024, 3, 1, tzinfo=UTC)
    trace = XesTrace(2, "t", {}, [XesEvent(3, "Bake", at, {})])
    plan = plan_trace(trace, CAKES, "log")
    limits.check_plan(plan, "t")
    monkeypatch.setitem(COMMANDS, "completeStep", COMMANDS["pause"])
    with pytest.raises(XesError, match="line 3: the service would refuse `step`: "):
        limits.check_plan(plan, "t")


def test_longest_names_of_a_log_make_legal_commands(log_file: LogFile) -> None:
    activity = "B" * limits.LONGEST_ACTIVITY
    who = f"<string key='org:resource' value='{'r' * limits.LONGEST_RESOURCE}'/>"
    events = [event(activity).replace("</event>", f"{who}</event>")] * 2
    assert survey_file(log_file(events)).steps["completed"] == 2
