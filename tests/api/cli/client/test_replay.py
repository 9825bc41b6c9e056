"""`executions replay` prints the events since a checkpoint, with the state after each."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from api.cli.main import main
from tests.support.api_client import Executions, ok
from tests.support.running_server import TOKEN, Serving

STEPS = [{"id": "a", "name": "Research"}, {"id": "b", "name": "Send"}]


def replay(server: Serving, *words: str) -> Result:
    return CliRunner().invoke(main, ["replay", "--url", server.url, "--token", TOKEN, *words])


@pytest.fixture
def resumed(executions: Executions) -> str:
    """An execution that was paused at its second checkpoint, and resumed."""
    execution = executions.running(steps=STEPS)
    executions.tell(execution, "checkpoints", state={"lead": 1})
    executions.tell(execution, "steps/a/start")
    executions.tell(execution, "pause", state={"lead": 2})
    executions.tell(execution, "resume")
    executions.tell(execution, "steps/a/complete")
    return execution


def test_replay_begins_at_the_latest_checkpoint(server: Serving, resumed: str) -> None:
    result = replay(server, resumed)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[3] for line in lines[::2]] == [
        "execution.checkpoint",
        "execution.paused",
        "execution.resumed",
        "execution.step.completed",
    ]
    assert lines[1].strip() == "→ running · 0 % · 0/2 steps · at Research"
    assert lines[-1].strip() == "→ running · 50 % · 1/2 steps"


def test_replay_begins_at_a_named_checkpoint_or_at_the_start(
    server: Serving, api: httpx.Client, resumed: str
) -> None:
    kept: Any = api.get(f"/executions/{resumed}/checkpoints").json()
    first, second = (checkpoint["id"] for checkpoint in kept)
    versions = {}
    for begin in (first, second, "start"):
        result = replay(server, resumed, "--from", begin, "--json")
        assert result.exit_code == 0, result.output
        events = [json.loads(line) for line in result.stdout.splitlines()]
        versions[begin] = [event["version"] for event in events]
        for event in events:
            past = ok(api.get(f"/executions/{resumed}?version={event['version']}"))
            assert event["state"]["status"] == past["status"]
            assert event["state"]["checkpoints"] == past["checkpoints"]
    newest = ok(api.get(f"/executions/{resumed}"))["version"]
    assert versions["start"] == list(range(1, newest + 1))
    assert versions[first] == list(range(4, newest + 1))
    assert versions[second] == list(range(6, newest + 1))


def test_replay_without_checkpoint_begins_at_the_start(
    server: Serving, running_execution: str
) -> None:
    assert "execution.created" in replay(server, running_execution).stdout


def test_refusal_of_an_unknown_checkpoint_names_those_there_are(
    server: Serving, api: httpx.Client, resumed: str
) -> None:
    kept: Any = api.get(f"/executions/{resumed}/checkpoints").json()
    first, second = (checkpoint["id"] for checkpoint in kept)
    said = replay(server, resumed, "--from", "cp-9").stderr
    assert said == f"Error: there is no checkpoint `cp-9`; there are {second}, {first}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [(("no-such",), "There is no such execution."), (("{}", "--from", "cp-9"), "no checkpoint")],
)
def test_replay_of_an_unknown_execution_or_checkpoint_is_refused_in_one_line(
    server: Serving, running_execution: str, words: tuple[str, ...], expected: str
) -> None:
    result = replay(server, *(word.format(running_execution) for word in words))
    assert result.exit_code == 1
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1
