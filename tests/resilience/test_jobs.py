"""A job of a running service continues when the work process is killed."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import closing

import httpx

from tests.resilience.test_timers import client, types
from tests.support.api_client import ok
from tests.support.service_process import Service

EXECUTIONS = 600
SOON = 60


def make(api: httpx.Client) -> list[str]:
    """Failed executions, all with one tag."""
    ids = [f"bulk-{number}" for number in range(EXECUTIONS)]
    refs = {"order": "order-t", "service": "service-t", "status": "running", "tags": ["bulk"]}
    error = {"code": "E", "message": "m", "recoverable": False}
    commands = [
        item
        for id_ in ids
        for item in (
            {"command": "create", "execution": id_, **refs},
            {"command": "fail", "execution": id_, **error},
        )
    ]
    for begin in range(0, len(commands), 1_000):
        answers = ok(api.post("/commands", json=commands[begin : begin + 1_000]))
        assert {answer["status"] for answer in answers} <= {200, 201}  # type: ignore[index]
    return ids


def test_job_sends_each_execution_its_command_once_while_the_worker_is_killed(
    service: Service, thorough: bool
) -> None:
    rng = random.Random(3)
    with closing(client(service)) as api:
        ids = make(api)
        bulk = {"command": "retry", "filter": {"tags": "bulk", "status": "failed"}}
        head = ok(api.get("/readyz"))["position"]
        preview = ok(
            api.post(
                "/executions/bulk",
                params={"minPosition": head},
                headers={"Prefer": "wait=30"},
                json=bulk | {"preview": True},
            )
        )
        assert preview["wouldChange"] == EXECUTIONS
        job = ok(api.post("/executions/bulk", json=bulk))
        for _ in range(10 if thorough else 2):
            time.sleep(rng.uniform(0.05, 1.2))
            killed = service.work_process()
            os.kill(killed, signal.SIGKILL)
            service.work_process(other_than=killed)
        end = time.monotonic() + SOON
        while (shown := ok(api.get(f"/jobs/{job['$id']}")))["status"] == "running":
            assert time.monotonic() < end, shown
            time.sleep(0.1)
        assert (shown["status"], shown["done"], shown["refused"]) == ("completed", EXECUTIONS, 0)
        assert {types(api, id_).count("retry") for id_ in rng.sample(ids, 60)} == {1}
        rows = service.events()
        retried = [row.stream for row in rows if row.type == "execution.retry"]
        assert len(retried) == len(set(retried)) == EXECUTIONS
