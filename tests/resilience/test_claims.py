"""Server, work process and workers are killed: no execution has two owners, and none is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from threading import Event

import httpx

from tests.resilience.test_timers import ORDER, client
from tests.support.claim_proof import Owners
from tests.support.service_process import AUTHORIZED, Service

WORKERS = 6
LEASE = 3_000
RESULT = {"success": True, "output": None, "summary": "done"}
MOST_COMMANDS = 1_000
"""Of one call."""
VANISHES = 0.1
"""The chance that a worker forgets its claims."""


class Worker:
    """Claims, sends heartbeats, completes; retries after every failure; sometimes forgets its claims."""

    def __init__(self, service: Service, number: int, over: Event) -> None:
        self._api = httpx.Client(
            base_url=f"{service.url}/api",
            headers={**AUTHORIZED, "X-Worker": f"w-{number}"},
            timeout=10,
        )
        self._name = f"w-{number}"
        self._over = over
        self._rng = random.Random(number)

    def run(self) -> None:
        with closing(self._api):
            while not self._over.is_set():
                try:
                    self._work()
                except httpx.HTTPError:
                    time.sleep(0.05)

    def _work(self) -> None:
        asked = {"worker": self._name, "lease": LEASE, "wait": 1}
        answer = self._api.post("/executions/claim", json=asked)
        if answer.status_code != 200:
            time.sleep(0.05)
            return
        if self._rng.random() < VANISHES:
            return
        path = f"/executions/{answer.json()['$id']}"
        self._retry(f"{path}/heartbeat", {})
        self._retry(f"{path}/complete", RESULT)

    def _retry(self, path: str, body: object) -> None:
        """Until a server answers: done, or refused as the lease was lost."""
        while not self._over.is_set():
            with suppress(httpx.HTTPError):
                answer = self._api.post(path, json=body)
                if answer.status_code in {200, 409}:
                    return
            time.sleep(0.05)


def queue(api: httpx.Client, number: int) -> set[str]:
    commands = [
        {"command": "create", "execution": f"of-claims-{n}", **ORDER} for n in range(number)
    ]
    for first in range(0, number, MOST_COMMANDS):
        answers = api.post("/commands", json=commands[first : first + MOST_COMMANDS]).json()
        assert {answer["status"] for answer in answers} == {201}
    return {f"execution/of-claims-{n}" for n in range(number)}


def test_executions_have_one_owner_at_a_time_while_all_processes_are_killed(
    service: Service, thorough: bool
) -> None:
    rng, over = random.Random(7), Event()
    rounds = 100 if thorough else 2
    with closing(client(service)) as api:
        queued = queue(api, 20 * rounds)
        with ThreadPoolExecutor(WORKERS) as pool:
            workers = [pool.submit(Worker(service, n, over).run) for n in range(WORKERS)]
            try:
                for number in range(rounds):
                    time.sleep(rng.uniform(0.2, 0.8))
                    if number % 2:
                        os.kill(service.work_process(), signal.SIGKILL)
                    else:
                        service.kill()
                        service.start()
                until_all_are_completed(service, queued)
            finally:
                over.set()
            for worker in workers:
                worker.result()
    owners = Owners(service.events())
    assert set(owners.completed) == queued
    assert all(len(ends) == 1 and ends[0] is not None for ends in owners.completed.values())
    assert owners.lost > 0  # of workers that forgot their claims


def until_all_are_completed(service: Service, queued: set[str]) -> None:
    end = time.monotonic() + 120
    while len(Owners(service.events()).completed) < len(queued):
        assert time.monotonic() < end, service.log()[-5_000:]
        time.sleep(0.5)
