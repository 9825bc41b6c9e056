"""A real process log, imported through the front door: every total comes out.

BPI Challenge 2012, B. van Dongen, 4TU.ResearchData,
https://doi.org/10.4121/uuid:3926db30-f712-4394-aebc-75976070e91f. It is not part of the product:
REAL_PROCESS_LOG names the file where there is one. The totals were computed from the file alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.running_server import TOKEN, Serving, serving

LOG = os.environ.get("REAL_PROCESS_LOG")
PROGRAM = Path(sys.executable).with_name("executions")
MAPPING = {
    "service": {"$id": "loan-application", "name": "Loan application", "provider": "bank"},
    "customer": "applicants",
    "outcomes": {"A_APPROVED": "completed", "A_DECLINED": "failed", "A_CANCELLED": "cancelled"},
    "failure": {"code": "DECLINED", "recoverable": False},
}
STATUSES = {"completed": 2246, "failed": 7635, "cancelled": 2807, "running": 399}
STEPS = {"completed": 164_506, "skipped": 12, "pending": 59, "running": 3}
WORK = {
    "W_Completeren aanvraag": 23_967,
    "W_Nabellen offertes": 22_987,
    "W_Nabellen incomplete dossiers": 11_407,
    "W_Valideren aanvraag": 7_946,
}

pytestmark = pytest.mark.skipif(not LOG, reason="REAL_PROCESS_LOG names no file")


@pytest.fixture(scope="module")
def imported(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service after the import."""
    mapping = tmp_path_factory.mktemp("import") / "mapping.json"
    mapping.write_text(json.dumps(MAPPING))
    with serving(module_database) as running:
        run_import(running, mapping)
        second = run_import(running, mapping)
        assert second["import"]["imported"] == 0
        yield running


def run_import(running: Serving, mapping: Path) -> dict[str, Any]:
    command = [str(PROGRAM), "import", "xes", str(LOG), "--mapping", str(mapping), "--json"]
    done = subprocess.run(
        [*command, "--url", running.url, "--token", TOKEN],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    totals: dict[str, Any] = json.loads(done.stdout)
    return totals


@pytest.fixture(scope="module")
def api(imported: Serving) -> Iterator[httpx.Client]:
    with imported.client() as client:
        yield client


def test_every_trace_is_an_execution_with_its_outcome(api: httpx.Client) -> None:
    found = api.get("/analytics/executions").json()
    assert {status: count for status, count in found["statuses"].items() if count} == STATUSES
    listed = api.get("/executions", params={"count": "true", "limit": 1}).json()
    assert listed["total"] == found["total"] == 13_087


def test_durations_are_exact(api: httpx.Client) -> None:
    groups = api.get("/analytics/executions", params={"by": "status"}).json()["groups"]
    durations = {group["key"]: group["duration"] for group in groups}
    completed, failed = durations["completed"], durations["failed"]
    assert completed["mean"] == 1_445_937_864
    assert completed["p50"] == 1_251_548_820
    assert completed["max"] == 11_855_936_012
    assert (failed["mean"], failed["p50"]) == (176_955_304, 676_398)


def test_every_round_of_work_is_a_step(api: httpx.Client) -> None:
    statuses, names = Counter[str](), Counter[str]()
    for execution in all_executions(api):
        for step in execution["steps"]:
            statuses[step["status"]] += 1
            names[re.sub(r"#\d+$", "", step["id"])] += 1
    assert statuses == STEPS
    assert {name: names[name] for name in WORK} == WORK


def all_executions(api: httpx.Client) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        params = {"limit": "500"} | ({"cursor": cursor} if cursor else {})
        page = api.get("/executions", params=params).json()
        yield from page["data"]
        cursor = page["nextCursor"]
        if cursor is None:
            return
