"""A server answers equally before and after old events are moved to the archive."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from tests.api.cli.test_serve import run
from tests.support.api_client import ok
from tests.support.archived_log import ENDED, EVENTS, WAITS, archive, fill, settle
from tests.support.running_server import data_dir, serving
from tests.support.sse_client import frames, until_caught_up
from tests.support.sse_client import opened as streaming

JSON = dict[str, Any]


class Asking:
    """Reads the past from a server; keeps the answers by path."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api
        self.found: JSON = {}

    def ask(self, path: str) -> Any:
        answer = self.api.get(path)
        assert answer.status_code in {200, 404, 422}, (path, answer.text)
        self.found[path] = [answer.status_code, answer.json()]
        return answer.json()

    def about(self, name: str, head: int) -> None:
        """Read an execution by every route."""
        about = f"/executions/{name}"
        versions = ok(self.api.get(about))["version"]
        for query in (
            ("", "/compare?with=e-1") if name in ENDED else ()
        ):  # the document of others still changes
            self.ask(f"{about}{query}")
        for query in (
            "",
            "?order=desc",
            "?types=step.*",
            "?include=execution",
            "?limit=2&cursor=3",
        ):
            page = self.ask(f"{about}/events{query}")
        for event in page["data"]:
            self.ask(f"{about}?at={event['time']}")
            self.ask(f"/executions?at={event['time']}")
        for version in range(1, versions + 1):
            self.ask(f"{about}?version={version}")
            self.ask(f"{about}/steps?version={version}")
            self.ask(f"{about}/diff?from=1&to={version}")
        self.found[f"{name} trailed"] = changes_on_trail(self.api, f"execution={name}&limit=500")
        self.found[f"{name} checked"] = without_changing_values(ok(self.api.get(f"{about}/verify")))
        self.found[f"{name} proven"] = proven(self.api, name)
        for stream in ("events", "watch"):
            path = f"{about}/{stream}"
            self.found[f"{path} streamed"] = read_stream(self.api, path, head)


def answers(api: httpx.Client, head: int) -> JSON:
    """The answers of every route that reads the past."""
    asking = Asking(api)
    for name in (*ENDED, WAITS):
        asking.about(name, head)
    for query in ("limit=500&action=execution.started", "limit=3&actor=admin"):
        for order in ("asc", "desc"):
            asking.found[f"{query} {order}"] = changes_on_trail(api, f"{query}&order={order}")
    for position in range(1, head + 1):
        asking.ask(f"/audit/inclusion?position={position}&size={head}")
    for start in (0, 1, 5, EVENTS, head - 1):
        asking.found[f"log from {start}"] = read_stream(api, "/events", head, after=start)
    return asking.found


def changes_on_trail(api: httpx.Client, query: str) -> list[JSON]:
    """The changes of status on a page of the trail; each request adds reads to it."""
    page = ok(api.get(f"/audit/trail?{query}"))["data"]
    return [item for item in page if item["kind"] == "event"]


def without_changing_values(report: JSON) -> JSON:
    """The verification of an execution, without values that change with the log."""
    return {name: report[name] for name in ("events", "faults") if name in report}


def proven(api: httpx.Client, name: str) -> JSON:
    """The events in a bundle, without values that change with the tree."""
    answer = api.get(f"/audit/bundle/{name}")
    assert answer.status_code == 200, answer.text
    with ZipFile(BytesIO(answer.content)) as bundle:
        names = sorted(bundle.namelist())
        kept = {each: bundle.read(each).decode() for each in names if "events" in each}
    return {"names": names, **kept}


def read_stream(api: httpx.Client, path: str, head: int, after: int | None = None) -> list[Any]:
    """The frames of a stream up to a position."""
    with streaming(api, path, after, **({} if after is not None else {"from": "start"})) as source:
        ended = path != "/events"
        read = list(frames(source)) if ended and WAITS not in path else until_caught_up(source)
    return [frame for frame in read if frame.is_event and int(frame.id) <= head]


@pytest.fixture
def folder(database: str, tmp_path: Path) -> Path:
    data_dir(database, tmp_path)
    return tmp_path


def test_every_answer_is_the_same_before_and_after_archiving(database: str, folder: Path) -> None:
    with serving(database, data_dir=folder) as server, server.client() as api:
        fill(api)
        head = settle(api, database)
        before = answers(api, head)
        reports = asyncio.run(archive(database, folder))
        assert len(reports) >= head // EVENTS
        assert sum(report.taken for report in reports) > head // 2
        settle(api, database)
        assert differences(before, answers(api, head)) == []
        assert f"executions_events_archived {reports[-1].last}.0" in api.get("/metrics").text
    with serving(database, data_dir=folder) as again, again.client() as api:
        assert differences(before, answers(api, head)) == []
        settle(api, database)
    done = run("verify --json", folder, EXECUTIONS_DATABASE_URL=database)
    report = json.loads(done.stdout)
    assert (report["faults"], report["archiveFiles"]) == ([], len(reports)), done.stderr
    proof = run("audit verify", folder, EXECUTIONS_DATABASE_URL=database)
    # Only the tree and the events: a server in the process of the test has another key.
    assert "1 fault was found: audit: head: is not signed by the key of the log" in proof.stderr
    for view in ("executions", "timers", "logs", "snapshots"):
        rebuilt = run(f"rebuild {view}", folder, EXECUTIONS_DATABASE_URL=database)
        assert rebuilt.returncode == 0, rebuilt.stderr
    assert (
        json.loads(run("verify --json", folder, EXECUTIONS_DATABASE_URL=database).stdout)["faults"]
        == []
    )


def differences(before: JSON, after: JSON) -> list[tuple[str, Any, Any]]:
    assert before.keys() == after.keys()
    return [(name, before[name], after[name]) for name in before if before[name] != after[name]]


def test_answer_that_needs_a_missing_file_names_it(database: str, folder: Path) -> None:
    with serving(database, data_dir=folder) as server, server.client() as api:
        fill(api)
        settle(api, database)
        reports = asyncio.run(archive(database, folder))
        (folder / "archive" / reports[1].file).unlink()
    with serving(database, data_dir=folder) as server, server.client() as api:
        refused = api.get("/executions/e-0/events")
        assert refused.status_code == 500
        problem = refused.json()
        assert problem["type"].endswith("/damaged")
        assert problem["file"] == reports[1].file
        assert ok(api.get(f"/executions/{WAITS}"))["status"] == "paused"
        assert len(ok(api.get("/executions"))["data"]) == len(ENDED) + 1
        assert ok(api.get("/executions?at=2100-01-01T00:00:00Z"))["data"]
        ok(api.post(f"/executions/{WAITS}/resume"))
    done = run("verify --json", folder, EXECUTIONS_DATABASE_URL=database)
    faults = json.loads(done.stdout)["faults"]
    assert {(fault["part"], fault["place"]) for fault in faults} == {("archive", reports[1].file)}
    found = run("doctor", folder, EXECUTIONS_DATABASE_URL=database)
    assert reports[1].file in found.stdout


def test_archive_command_reports_the_events_that_it_moved(database: str, folder: Path) -> None:
    with serving(database, data_dir=folder) as server, server.client() as api:
        fill(api)
        never = run("archive --events", folder, EXECUTIONS_DATABASE_URL=database)
        days = {"EXECUTIONS_DATABASE_URL": database, "EXECUTIONS_EVENT_DAYS": "1"}
        young = run("archive --events --dry-run", folder, **days)
        none = run("archive --events --json", folder, **days)
    assert "EXECUTIONS_EVENT_DAYS is not set" in never.stdout
    assert "No range of 65536 events is old enough" in young.stdout
    assert json.loads(none.stdout) == []
