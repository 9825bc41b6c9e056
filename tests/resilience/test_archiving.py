"""The process that archives is killed at random moments: no line is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg

from domain.eventlog.sessions import session_options
from domain.json_forms import format_time
from tests.resilience.test_timers import client
from tests.support.service_process import Service

EXECUTIONS, DAYS, LINES = 4, 12, 30
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


def asked(service: Service, query: str, *values: Any) -> Any:
    with psycopg.connect(service.conninfo, options=session_options("executions")) as connection:
        cursor = connection.execute(query.encode(), values or None)
        return cursor.fetchone() if cursor.description else None


def test_archived_lines_are_whole_although_the_process_that_archives_is_killed(
    service: Service, thorough: bool
) -> None:
    rng = random.Random(7)
    with closing(client(service)) as api:
        expected: dict[str, Counter[str]] = {}
        rounds = 100 if thorough else 1
        archived = 0
        for round_ in range(rounds):
            for number in range(EXECUTIONS):
                execution = f"e-{number}"
                if round_ == 0:
                    begun = format_time(datetime.now(UTC) - timedelta(days=60))
                    body = {"$id": execution, "occurredAt": begun, **ORDER}
                    api.post("/executions", json=body).raise_for_status()
                texts = [f"{round_}.{number}.{nth}" for nth in range(LINES)]
                lines = [{"level": "info", "message": text} for text in texts]
                api.post(f"/executions/{execution}/logs", json=lines).raise_for_status()
                expected.setdefault(execution, Counter()).update(texts)
            asked(service, OLDER, DAYS)
            killed = service.work_process()
            os.kill(killed, signal.SIGKILL)  # the next one looks at once
            killed = service.work_process(other_than=killed)
            time.sleep(rng.uniform(0.5, 3.0))
            os.kill(killed, signal.SIGKILL)
            service.work_process(other_than=killed)
            if round_ < 10 or round_ % 10 == 0:  # each round adds files, and all are read
                for execution, texts_ in expected.items():
                    assert lines_of(api, execution) == texts_
        end = time.monotonic() + SOON
        while (left := asked(service, LEFT))[0]:
            assert time.monotonic() < end, left
            time.sleep(0.5)
            archived = left[1]
        assert archived or left[1]
        for execution, texts_ in expected.items():
            assert lines_of(api, execution) == texts_
            assert api.get(f"/executions/{execution}").json()["logsTotal"] == texts_.total()
