"""The process that archives log lines is killed at random moments: no line is lost or duplicated."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from domain.eventlog.sessions import session_options
from domain.json_forms import format_time
from tests.resilience.test_timers import client
from tests.support.databases import reachable_folder
from tests.support.service_process import Service

EXECUTIONS, DAYS, LINES = 4, 12, 30
ROUNDS = 100
SOON = 120
OLDER = """UPDATE log_lines SET occurred_at = occurred_at - age.days, at = at - age.days
    FROM (SELECT id, (31 + id %% %s) * interval '1 day' AS days FROM log_lines
        WHERE at > now() - interval '1 day') AS age
    WHERE log_lines.id = age.id"""
LEFT = "SELECT count(*), (SELECT count(*) FROM log_archives) FROM log_lines"
ORDER = {"order": "order-t", "service": "service-t"}


def lines_of(api: httpx.Client, execution: str) -> Counter[str]:
    """The messages of an execution, in the table and in files, page by page."""
    found: Counter[str] = Counter()
    query: dict[str, Any] = {"archived": "true", "limit": 100}
    while True:
        answer = api.get(f"/executions/{execution}/logs", params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found.update(line["message"] for line in page["data"])
        if not page["hasMore"]:
            return found
        query["cursor"] = page["nextCursor"]


def execute(service: Service, query: str, *values: Any) -> Any:
    with psycopg.connect(service.conninfo, options=session_options("executions")) as connection:
        cursor = connection.execute(query.encode(), values or None)
        return cursor.fetchone() if cursor.description else None


@pytest.fixture
def without_work() -> Iterator[Service]:
    """A server whose views, timers and archive are handled by other processes."""
    with reachable_folder() as folder:
        service = Service(folder, None, "--no-work")
        service.start()
        try:
            yield service
        finally:
            service.close()


def append_lines(api: httpx.Client, round_: int) -> dict[str, Counter[str]]:
    """Append lines of each execution, recorded today; returns their messages."""
    appended: dict[str, Counter[str]] = {}
    for number in range(EXECUTIONS):
        execution = f"e-{number}"
        texts = [f"{round_}.{number}.{nth}" for nth in range(LINES)]
        lines = [{"level": "info", "message": text} for text in texts]
        api.post(f"/executions/{execution}/logs", json=lines).raise_for_status()
        appended[execution] = Counter(texts)
    return appended


def archive_for(service: Service, seconds: float) -> None:
    """Let a process work for this long, and kill it. A server would pause longer and longer before restarting it."""
    with service.working() as process:
        time.sleep(seconds)
        assert process.poll() is None, service.log()
        process.send_signal(signal.SIGKILL)


def test_archived_lines_are_complete_although_the_archiving_process_is_killed(
    without_work: Service, thorough: bool
) -> None:
    service, rng = without_work, random.Random(7)
    with closing(client(service)) as api:
        begun = format_time(datetime.now(UTC) - timedelta(days=60))
        for number in range(EXECUTIONS):
            body = {"$id": f"e-{number}", "occurredAt": begun, **ORDER}
            api.post("/executions", json=body).raise_for_status()
        expected: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for round_ in range(ROUNDS if thorough else 1):
            for execution, texts in append_lines(api, round_).items():
                expected[execution].update(texts)
            execute(service, OLDER, DAYS)
            archive_for(service, rng.uniform(0.5, 3.0))
            if round_ < 10 or round_ % 10 == 0:  # each round adds files, and all are read
                for execution, texts in expected.items():
                    assert lines_of(api, execution) == texts
        with service.working():
            end = time.monotonic() + SOON
            while (left := execute(service, LEFT))[0]:
                assert time.monotonic() < end, left
                time.sleep(0.5)
            assert left[1]
            for execution, texts in expected.items():
                assert lines_of(api, execution) == texts
                assert api.get(f"/executions/{execution}").json()["logsTotal"] == texts.total()
