"""Several server processes of one log: consumers move between them, also after one is killed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from threading import Thread

import pytest

from service_executions import Client
from tests.support.api_client import ok
from tests.support.databases import reachable_folder
from tests.support.delivery_proof import Consumer, prove, write_usage
from tests.support.load import CATALOG
from tests.support.service_process import TOKEN, Service
from tests.support.stream_consumers import NO_END, by_socket, by_sse, client, head

EACH = 30


@pytest.fixture(scope="module")
def processes(module_database: str) -> Iterator[list[Service]]:
    """Two servers of one log; a test that kills a server starts it again."""
    with reachable_folder() as folder:
        services = [Service(folder, module_database) for _ in range(2)]
        try:
            for service in services:
                service.start()
            yield services
        finally:
            for service in services:
                service.close()


@pytest.fixture(scope="module")
def execution(processes: list[Service]) -> str:
    """The id of a running execution."""
    with client(processes[0].url) as api:
        for path, entry in CATALOG:
            ok(api.post(f"/{path}", json=entry))
        ids = {"order": "order-1", "service": "sdr", "status": "running"}
        return str(ok(api.post("/executions", json=ids))["$id"])


def end_of_log(service: Service) -> int:
    with client(service.url) as api:
        return head(api)


def test_consumers_move_between_two_processes_by_cursor(
    processes: list[Service], execution: str, thorough: bool
) -> None:
    begin = end_of_log(processes[0])
    end = begin + (20_000 if thorough else 1_000)
    consumers = [
        Consumer(processes, read, begin, end, seed=seed, most=60)
        for seed, read in enumerate((by_sse, by_socket, by_sse, by_socket))
    ]
    with write_usage(processes, [execution], 5):
        prove(consumers, processes[0], begin)


def test_consumers_miss_no_event_although_server_processes_are_killed_during_writes(
    processes: list[Service], execution: str, thorough: bool
) -> None:
    begin, chance = end_of_log(processes[0]), random.Random(1)
    consumers = [
        Consumer(processes, read, begin, NO_END, seed=seed, most=500, mortal=True)
        for seed, read in enumerate((by_sse, by_socket, by_sse, by_socket))
    ]

    def kill() -> int:
        for _ in range(20 if thorough else 2):
            victim = chance.choice(processes)
            victim.kill()
            victim.start()
        return end_of_log(processes[0]) + 100

    with write_usage(processes, [execution], 5, mortal=True):
        prove(consumers, processes[0], begin, meanwhile=kill)


def test_listener_of_a_killed_server_continues_with_the_next(
    processes: list[Service], execution: str
) -> None:
    service, heard = processes[0], list[int]()
    begin = end_of_log(service)

    def listen() -> None:
        with Client(service.url, TOKEN) as sdk, sdk.listen("execution.*", start=begin) as events:
            heard.extend(event.position for event in islice(events, EACH * 2))

    def write() -> None:
        with client(service.url) as api:
            for _ in range(EACH):
                ok(api.post(f"/executions/{execution}/metrics", json={"apiCalls": 1}))

    listener = Thread(target=listen, daemon=True)
    listener.start()
    write()
    service.kill()
    service.start()
    write()
    listener.join(60)
    assert heard == list(range(begin + 1, begin + 2 * EACH + 1))
