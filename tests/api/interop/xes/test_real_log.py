"""A real process log is imported over HTTP with correct totals.

BPI Challenge 2012, B. van Dongen, 4TU.ResearchData,
https://doi.org/10.4121/uuid:3926db30-f712-4394-aebc-75976070e91f. It is not part of the product:
the tests are skipped unless REAL_PROCESS_LOG names the file. With `--thorough` all of it is imported, and
compared with totals computed from the file; otherwise its first traces, compared with a simple model.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
import pytest

from api.interop.xes.mapping import load_mapping
from api.interop.xes.survey import plans
from tests.support.api_client import ok
from tests.support.fake_service import created
from tests.support.running_server import TOKEN, Serving, serving

LOG = os.environ.get("REAL_PROCESS_LOG")
TRACES = 400
PROGRAM = Path(sys.executable).with_name("executions")
MAPPING = {
    "service": {"$id": "loan-application", "name": "Loan application", "provider": "bank"},
    "customer": "applicants",
    "outcomes": {"A_APPROVED": "completed", "A_DECLINED": "failed", "A_CANCELLED": "cancelled"},
    "failure": {"code": "DECLINED", "recoverable": False},
}


class Totals(NamedTuple):
    """Totals of a log. Durations are in milliseconds, by status; `work` has the steps by activity."""

    statuses: dict[str, int]
    steps: dict[str, int]
    work: dict[str, int]
    mean: dict[str, int]
    median: dict[str, int]
    longest: int


WHOLE = Totals(
    statuses={"completed": 2246, "failed": 7635, "cancelled": 2807, "running": 399},
    steps={"completed": 164_506, "skipped": 12, "pending": 59, "running": 3},
    work={
        "W_Completeren aanvraag": 23_967,
        "W_Nabellen offertes": 22_987,
        "W_Nabellen incomplete dossiers": 11_407,
        "W_Valideren aanvraag": 7_946,
    },
    mean={"completed": 1_445_937_864, "failed": 176_955_304},
    median={"completed": 1_251_548_820, "failed": 676_398},
    longest=11_855_936_012,
)

pytestmark = pytest.mark.skipif(not LOG, reason="REAL_PROCESS_LOG names no file")


def first_traces(source: str, target: Path) -> None:
    """A log of the first traces of a log."""
    with gzip.open(source) as log:
        parts = log.read().split(b"</trace>")[:TRACES]
    target.write_bytes(b"</trace>".join([*parts, b"</log>"]))


def totals_of(log: Path, mapping: Path) -> Totals:
    """The totals that a simple model computes from the plans of a log."""
    steps, work = Counter[str](), Counter[str]()
    durations = defaultdict[str, list[int]](list)
    for plan in plans(log, load_mapping(mapping), "log"):
        first, *others = map(orjson.loads, plan.commands)
        execution = created(first)
        for command in others:
            execution.apply(command)
        steps.update(execution.steps.values())
        work.update(step.partition("#")[0] for step in execution.steps)
        took = execution.duration // timedelta(milliseconds=1) if execution.ended else 0
        durations[execution.status].append(took)
    ended = ("completed", "failed")
    return Totals(
        {status: len(all_of) for status, all_of in durations.items()},
        dict(steps),
        {name: work[name] for name in WHOLE.work},
        {status: round(statistics.mean(durations[status])) for status in ended},
        {status: round(statistics.median(durations[status])) for status in ended},
        max(durations["completed"]),
    )


class Imported(NamedTuple):
    """A service after an import, and the expected totals."""

    serving: Serving
    totals: Totals


@pytest.fixture(scope="module")
def imported(
    module_database: str, tmp_path_factory: pytest.TempPathFactory, thorough: bool
) -> Iterator[Imported]:
    folder = tmp_path_factory.mktemp("import")
    mapping, log = folder / "mapping.json", folder / "log.xes"
    mapping.write_text(json.dumps(MAPPING))
    assert LOG
    if thorough:
        log, totals = Path(LOG), WHOLE
    else:
        first_traces(LOG, log)
        totals = totals_of(log, mapping)
    with serving(module_database) as running:
        run_import(running, log, mapping)
        # If the view lags, some executions are counted as imported again.
        with running.client() as client:
            position = ok(client.get("/readyz"))["position"]
            patient = {"Prefer": "wait=60"}
            ok(client.get("/executions", params={"minPosition": position}, headers=patient))
        second = run_import(running, log, mapping)
        assert second["import"]["imported"] == 0
        yield Imported(running, totals)


def run_import(running: Serving, log: Path, mapping: Path) -> dict[str, Any]:
    command = [str(PROGRAM), "import", "xes", str(log), "--mapping", str(mapping), "--json"]
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
def api(imported: Imported) -> Iterator[httpx.Client]:
    with imported.serving.client() as client:
        yield client


def test_every_trace_is_an_execution_with_its_outcome(
    api: httpx.Client, imported: Imported
) -> None:
    found = api.get("/analytics/executions").json()
    counts = {status: count for status, count in found["statuses"].items() if count}
    assert counts == imported.totals.statuses
    listed = api.get("/executions", params={"count": "true", "limit": 1}).json()
    assert listed["total"] == found["total"] == sum(counts.values())


def test_durations_are_exact(api: httpx.Client, imported: Imported) -> None:
    groups = api.get("/analytics/executions", params={"by": "status"}).json()["groups"]
    durations = {group["key"]: group["duration"] for group in groups}
    mean, median = imported.totals.mean, imported.totals.median
    assert {status: durations[status]["mean"] for status in mean} == mean
    assert {status: durations[status]["p50"] for status in median} == median
    assert durations["completed"]["max"] == imported.totals.longest


def test_every_round_of_work_is_a_step(api: httpx.Client, imported: Imported) -> None:
    statuses, names = Counter[str](), Counter[str]()
    for execution in all_executions(api):
        for step in execution["steps"]:
            statuses[step["status"]] += 1
            names[re.sub(r"#\d+$", "", step["id"])] += 1
    assert statuses == imported.totals.steps
    assert {name: names[name] for name in imported.totals.work} == imported.totals.work


def all_executions(api: httpx.Client) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        params = {"limit": "500"} | ({"cursor": cursor} if cursor else {})
        page = api.get("/executions", params=params).json()
        yield from page["data"]
        cursor = page["nextCursor"]
        if cursor is None:
            return
