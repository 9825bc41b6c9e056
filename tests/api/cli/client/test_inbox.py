"""`executions inbox` lists the open steps of people."""

from __future__ import annotations

import json

import httpx
import pytest
from click.testing import CliRunner, Result

from api.cli.main import main
from tests.support.api_client import Executions, ok
from tests.support.running_server import TOKEN, Serving

EDITOR = {"type": "human", "id": "editor-of-inbox", "name": "Sarah Editor"}


def inbox(server: Serving, *words: str) -> Result:
    at = ["--url", server.url, "--token", TOKEN]
    return CliRunner().invoke(main, ["inbox", "--assignee", "editor-of-inbox", *at, *words])


@pytest.fixture
def waiting(executions: Executions, api: httpx.Client) -> str:
    """An execution with a step that waits for the editor."""
    execution = executions.running(
        steps=[{"id": "review", "name": "Review\x1b[2J", "assignee": EDITOR}]
    )
    reached = {"minPosition": ok(api.get(f"/executions/{execution}"))["position"]}
    ok(api.get("/inbox", params=reached, headers={"Prefer": "wait=30"}))
    return execution


def test_inbox_names_execution_person_and_step(server: Serving, waiting: str) -> None:
    result = inbox(server)
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.stdout.splitlines() if waiting in line]
    assert "Review" in row
    assert "editor-of-inbox" in row
    assert "\x1b" not in result.output
    entries = [json.loads(line) for line in inbox(server, "--json").stdout.splitlines()]
    assert waiting in [entry["execution"] for entry in entries]


def test_empty_inbox_is_reported(server: Serving) -> None:
    result = inbox(server, "--assignee", "nobody-waits")
    assert result.stdout == "Nothing waits for people.\n"
