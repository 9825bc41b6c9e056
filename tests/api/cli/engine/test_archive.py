"""`executions archive` beside a running server; afterwards, reads of clients and `executions verify`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import psycopg
import pytest

from domain.eventlog.sessions import session_options
from domain.json_forms import format_time
from tests.api.cli.test_serve import run
from tests.support.api_client import ok
from tests.support.running_server import data_dir, serving

LINE = {"level": "info", "message": "Long ago"}
OLDER = """UPDATE log_lines SET at = at - interval '40 days',
    occurred_at = occurred_at - interval '40 days'"""
LONG_AGO = format_time(datetime.now(UTC) - timedelta(days=60))
EXECUTION = {"$id": "run-1", "order": "o", "service": "s", "occurredAt": LONG_AGO}
CATALOG = (
    ("/users", {"$id": "c", "name": "C", "kind": "person"}),
    ("/services", {"$id": "s", "name": "S", "provider": "c"}),
    ("/orders", {"$id": "o", "service": "s", "customer": "c"}),
    ("/executions", EXECUTION),
)


@pytest.fixture
def api(database: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A server of a log with two lines that are 40 days old."""
    data_dir(database, tmp_path)
    with serving(database, data_dir=tmp_path) as server, server.client() as client:
        for path, entry in CATALOG:
            ok(client.post(path, json=entry))
        ok(client.post("/executions/run-1/logs", json=[LINE, LINE]))
        with psycopg.connect(database, options=session_options("executions")) as connection:
            connection.execute(OLDER)
        follow(client)
        yield client


def follow(client: httpx.Client) -> None:
    deadline = monotonic() + 30
    while any(view["lag"] for view in ok(client.get("/readyz"))["views"].values()):
        assert monotonic() < deadline
        sleep(0.05)


def archive(tmp_path: Path, database: str, *options: str) -> list[dict[str, Any]]:
    environment = {"EXECUTIONS_DATABASE_URL": database}
    done = run(f"archive --json {' '.join(options)}", tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    reports: list[dict[str, Any]] = json.loads(done.stdout)
    return reports


def faulty_files(tmp_path: Path, database: str) -> list[str]:
    """The archive files with faults in `verify`; other faults are of other tests."""
    done = run("verify --json", tmp_path, EXECUTIONS_DATABASE_URL=database)
    report = json.loads(done.stdout)
    assert (report["archiveFiles"], report["archiveFilesUnreachable"]) == (1, 0)
    return [fault["place"] for fault in report["faults"] if fault["part"] == "archive"]


def test_archive_moves_past_days_unless_held(
    api: httpx.Client, database: str, tmp_path: Path
) -> None:
    [due] = archive(tmp_path, database, "--dry-run")
    assert (due["outcome"], due["lines"]) == ("due", 2)
    hold = ok(api.post("/holds", json={"executions": ["run-1"], "reason": "Audit"}))["$id"]
    follow(api)
    for options in (["--dry-run"], []):
        [kept] = archive(tmp_path, database, *options)
        assert (kept["outcome"], kept["holds"]) == ("on hold", {hold: 1})
    ok(api.request("DELETE", f"/holds/{hold}", json={"reason": "It is over"}))
    follow(api)
    [done] = archive(tmp_path, database)
    assert done["outcome"] == "archived"
    [file] = done["files"]
    assert (tmp_path / "archive" / file).is_file()
    assert archive(tmp_path, database) == []
    assert ok(api.get("/executions/run-1"))["logsTotal"] == 2
    path = "/executions/run-1/logs?archived=true"
    assert [line["message"] for line in ok(api.get(path))["data"]] == ["Long ago"] * 2
    assert len(ok(api.get(f"{path}&text=AGO&limit=1"))["data"]) == 1
    assert (
        ok(api.get(f"{path}&text=never"))["data"] == ok(api.get("/executions/run-1/logs"))["data"]
    )
    assert api.get(f"{path}&text=").status_code == 422
    assert "executions_archive_age_seconds" in api.get("/metrics").text


@pytest.mark.parametrize("spoil", ["missing", "damaged", "uncounted"])
def test_verify_names_an_archive_file_that_is_missing_or_damaged(
    api: httpx.Client, database: str, tmp_path: Path, spoil: str
) -> None:
    [done] = archive(tmp_path, database)
    [file] = done["files"]
    follow(api)
    assert faulty_files(tmp_path, database) == []
    path = tmp_path / "archive" / file
    if spoil == "missing":
        path.unlink()
    elif spoil == "damaged":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    else:
        with psycopg.connect(database, options=session_options("executions")) as connection:
            connection.execute("UPDATE log_archive_lines SET lines = 1")
    assert faulty_files(tmp_path, database) == [file]


def test_logs_prints_archived_lines_and_those_with_a_text(
    api: httpx.Client, database: str, tmp_path: Path
) -> None:
    archive(tmp_path, database)
    ok(api.post("/executions/run-1/logs", json={"level": "info", "message": "Just now"}))
    url = str(api.base_url).removesuffix("/").removesuffix("/api")
    token = api.headers["authorization"].removeprefix("Bearer ")
    where = {"EXECUTIONS_URL": url, "EXECUTIONS_TOKEN": token}

    def lines_of_logs(options: str) -> list[str]:
        done = run(f"logs run-1 --json {options}", tmp_path, **where)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["message"] for line in done.stdout.splitlines()]

    assert lines_of_logs("") == ["Just now"]
    assert lines_of_logs("--archived") == ["Long ago", "Long ago", "Just now"]
    assert lines_of_logs("--archived --text just") == ["Just now"]
    assert run("logs run-1 --follow --archived", tmp_path, **where).returncode == 2


def test_archive_in_another_folder_than_that_of_the_server_is_refused(
    api: httpx.Client, database: str, tmp_path: Path
) -> None:
    archive(tmp_path, database)
    other = {"EXECUTIONS_ARCHIVE_URL": (tmp_path / "other").as_uri()}
    done = run("archive", tmp_path, EXECUTIONS_DATABASE_URL=database, **other)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert line.startswith(f"Error: the archive of this log is {(tmp_path / 'archive').as_uri()}")
    assert line.endswith("EXECUTIONS_ARCHIVE_URL must be the server's")
    assert ok(api.get("/executions/run-1/logs?archived=true"))["data"]
    report = run("verify --json", tmp_path, EXECUTIONS_DATABASE_URL=database, **other)
    assert json.loads(report.stdout)["archiveFilesUnreachable"] == 1


def test_archive_reports_its_number_of_days(database: str, tmp_path: Path) -> None:
    data_dir(database, tmp_path)
    done = run("archive", tmp_path, EXECUTIONS_DATABASE_URL=database, EXECUTIONS_LOG_DAYS="7")
    assert "EXECUTIONS_LOG_DAYS is 7" in done.stdout, done.stderr
