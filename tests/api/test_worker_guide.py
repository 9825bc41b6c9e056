"""The worker in docs/api.md runs unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic, sleep

import httpx
import pytest

from tests.support.api_client import Catalog, Executions, ok
from tests.support.paths import ROOT

WORK = """
def work(execution, lost):
    match execution["tags"]:
        case ["fails"]:
            raise ValueError("no answer")
        case ["is taken away"]:
            assert lost.wait(60)
    return {"sent": 2}
"""


def program(service: str) -> str:
    """The worker of the guide, for another service and with the shortest lease."""
    section = (ROOT / "docs" / "api.md").read_text().partition("\n## Work for workers")[2]
    blocks = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    found: str = blocks[0]
    changed = found.replace("30_000", "1_000").replace('"sdr"', f'"{service}"')
    assert changed.count(service) == 1
    return f"{WORK}\n{changed}"


@pytest.fixture
def worker(api: httpx.Client, catalog: Catalog) -> Iterator[subprocess.Popen[str]]:
    token = api.headers["authorization"].removeprefix("Bearer ")
    environment = {**os.environ, "API": str(api.base_url), "TOKEN": token, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", program(catalog.service)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def status(api: httpx.Client, execution: str, wanted: str) -> None:
    deadline = monotonic() + 30
    while (found := ok(api.get(f"/executions/{execution}"))["status"]) != wanted:
        assert monotonic() < deadline, found
        sleep(0.05)


def test_worker_of_the_guide_completes_fails_and_notices_a_lost_claim(
    api: httpx.Client, executions: Executions, worker: subprocess.Popen[str]
) -> None:
    done = str(executions.create(tags=["works"])["$id"])
    status(api, done, "completed")
    failing = str(executions.create(tags=["fails"])["$id"])
    status(api, failing, "failed")
    taken = str(executions.create(tags=["is taken away"])["$id"])
    status(api, taken, "running")
    executions.tell(taken, "cancel", reason="Not needed")
    assert worker.stdout is not None
    assert worker.stdout.readline().startswith(f"{taken} is another's")
