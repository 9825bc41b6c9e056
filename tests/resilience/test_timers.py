"""A running service fires retries automatically, once each, even if the process that fires them is killed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from domain.json_forms import format_time
from tests.support.service_process import AUTHORIZED, Service, signal_all

SOON = 30
POLICY = {"maxRetries": 3, "backoff": "exponential", "initialDelay": 300, "maxDelay": 5_000}
ERROR = {"code": "API_TIMEOUT", "message": "No answer after 30s", "recoverable": True}
ORDER = {"order": "order-t", "service": "service-t"}


def client(service: Service) -> httpx.Client:
    api = httpx.Client(base_url=f"{service.url}/api", headers=AUTHORIZED, timeout=30)
    for user in ("customer-t", "provider-t"):
        api.post("/users", json={"$id": user, "name": user, "kind": "organization"})
    api.post("/services", json={"$id": "service-t", "name": "s", "provider": "provider-t"})
    api.post("/orders", json={"$id": "order-t", "service": "service-t", "customer": "customer-t"})
    return api


def begin(api: httpx.Client, **fields: Any) -> str:
    answer = api.post("/executions", json={**ORDER, "status": "running", **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["$id"])


def until(api: httpx.Client, execution: str, reached: Callable[[Any], bool]) -> Any:
    """The execution once it meets the condition."""
    end = time.monotonic() + SOON
    while not reached(shown := api.get(f"/executions/{execution}").json()):
        assert time.monotonic() < end, shown
        time.sleep(0.05)
    return shown


def types(api: httpx.Client, execution: str) -> list[str]:
    page = api.get(f"/executions/{execution}/events?limit=500").json()
    return [event["type"].removeprefix("execution.") for event in page["data"]]


def test_failed_execution_is_retried_by_its_policy_and_has_server_log_lines(
    service: Service,
) -> None:
    """Example 4 of the reference, with its own bodies."""
    policy = {"maxRetries": 3, "backoff": "exponential", "initialDelay": 1_000, "maxDelay": 60_000}
    error = {
        "code": "API_TIMEOUT",
        "message": "External API timeout after 30s",
        "step": "fetch-data",
        "recoverable": True,
        "retryCount": 0,
    }
    with closing(client(service)) as api:
        execution = begin(api, retryPolicy=policy)
        for retry in (1, 2):
            failed = api.post(f"/executions/{execution}/fail", json=error).json()
            assert (failed["status"], failed["error"]["retryCount"]) == ("retry", retry - 1)
            assert failed["nextRetryAt"] > failed["attempts"][-1]["endedAt"]
            until(api, execution, lambda shown: shown["status"] == "running")
            assert types(api, execution).count("retry") == retry
        done = {"success": True, "output": None, "summary": "done"}
        assert api.post(f"/executions/{execution}/complete", json=done).status_code == 200
        shown = api.get(f"/executions/{execution}").json()
        assert "error" not in shown
        assert [attempt["outcome"] for attempt in shown["attempts"]] == [
            *("failed", "failed", "completed")
        ]
        assert [attempt.get("delay") for attempt in shown["attempts"]] == [1_000, 2_000, None]
        assert [(line["level"], line["message"]) for line in shown["logs"]] == [
            ("error", "API_TIMEOUT: External API timeout after 30s"),
            ("warn", "Retrying after 1s (attempt 1/3)"),
            ("error", "API_TIMEOUT: External API timeout after 30s"),
            ("warn", "Retrying after 2s (attempt 2/3)"),
            ("info", "Request completed"),
        ]


def test_long_batch_is_checkpointed_automatically_and_resumes_from_the_checkpoint(
    service: Service,
) -> None:
    """Example 5 of the reference, begun a second less than 15 minutes ago."""
    ago = format_time(datetime.now(UTC) - timedelta(minutes=15, seconds=-1))
    batch = {
        **ORDER,
        "status": "running",
        "progress": 0,
        "assignee": {"type": "system", "id": "batch-processor", "name": "Batch Processing System"},
        "timeout": 7_200_000,
        "metrics": {"stepsTotal": 1000, "stepsCompleted": 0},
    }
    execution = "of-example-5"
    work = [
        {"command": "create", "execution": execution, "occurredAt": ago, **batch},
        {
            "command": "checkpoint",
            "execution": execution,
            "state": {"item": 120},
            "occurredAt": ago,
        },
        {"command": "updateProgress", "execution": execution, "progress": 12},
    ]
    with closing(client(service)) as api:
        path = f"/executions/{execution}"
        answers = api.post("/commands", json=work).json()
        assert [answer["status"] for answer in answers] == [201, 200, 200], answers
        shown = until(api, execution, lambda shown: len(shown["checkpoints"]) == 2)
        assert shown["metrics"]["stepsTotal"] == 1_000
        assert shown["checkpoints"][1]["state"] == {"item": 120}
        automatic = shown["checkpoints"][1]["id"]
        api.post(f"{path}/pause")  # which saves one more
        resumed = api.post(f"{path}/resume", json={"checkpointId": automatic}).json()
        assert (resumed["status"], resumed["resumedFrom"]) == ("running", automatic)


def test_attempt_beyond_its_timeout_fails_automatically(service: Service) -> None:
    with closing(client(service)) as api:
        execution = begin(api, timeout=500)
        shown = until(api, execution, lambda shown: shown["status"] == "failed")
        assert shown["error"]["code"] == "EXECUTION_TIMEOUT"


def test_retries_begin_once_each_while_server_and_work_process_are_killed(
    service: Service, thorough: bool
) -> None:
    """In each round some are due around the kill."""
    rng, executions = random.Random(5), list[str]()
    policy = POLICY | {"initialDelay": 1_500, "jitter": "full"}
    with closing(client(service)) as api:
        for number in range(100 if thorough else 2):
            begun = [begin(api, retryPolicy=policy) for _ in range(8)]
            for execution in begun:
                api.post(f"/executions/{execution}/fail", json=ERROR)
            executions += begun
            time.sleep(rng.uniform(0.1, 1.0))
            if number % 4 == 3:
                service.kill()
                service.start()
            else:
                killed = service.work_process()
                os.kill(killed, signal.SIGKILL)
                service.work_process(other_than=killed)
        for execution in executions:
            until(api, execution, lambda shown: shown["status"] == "running")
            story = types(api, execution)
            assert (story.count("retry"), story.count("started")) == (1, 2), story


def test_retries_that_were_due_while_postgres_hung_begin_once_afterwards(
    service: Service, thorough: bool
) -> None:
    with closing(client(service)) as api:
        policy = POLICY | {"initialDelay": 1_000, "jitter": "full"}
        executions = [begin(api, retryPolicy=policy) for _ in range(20)]
        for execution in executions:
            api.post(f"/executions/{execution}/fail", json=ERROR)
        processes = service.postgres()
        signal_all(processes, signal.SIGSTOP)
        try:
            time.sleep(60 if thorough else 4)
        finally:
            signal_all(processes, signal.SIGCONT)
        service.wait_until_ready(SOON)
        for execution in executions:
            until(api, execution, lambda shown: shown["status"] == "running")
        time.sleep(6)  # until a worker that was unsure of an outcome has checked again
        for execution in executions:
            story = types(api, execution)
            assert (story.count("retry"), story.count("started")) == (1, 2), story
