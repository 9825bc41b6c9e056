"""Thousands of connects and disconnects leave no task, no object and no memory behind."""

from __future__ import annotations

import asyncio
import gc
import time
from itertools import cycle, islice
from socket import create_connection

from tests.support.running_server import Serving
from tests.support.service_process import Service
from tests.support.stream_consumers import Door
from tests.support.stream_visits import VISITORS, VISITS


def come_and_go(door: Door, times: int) -> None:
    """Connect and disconnect so many times, over both transports, with and without a filter."""
    address = ("127.0.0.1", int(door.url.rpartition(":")[2]))
    visits = islice(cycle(VISITS), times)
    while portion := list(islice(visits, VISITORS)):
        consumers = [create_connection(address) for _ in portion]
        for consumer, request in zip(consumers, portion, strict=True):
            consumer.sendall(request)
        for consumer in consumers:
            said = b""
            while b"caught-up" not in said:
                said += consumer.recv(65_536)
            consumer.close()


def counts_after_disconnects(server: Serving) -> tuple[int, int]:
    """The number of tasks and of objects once all are disconnected."""
    hub, deadline = server.system.hub, time.monotonic() + 10
    while hub.open and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (
        hub.open,
        len(hub.raw.index) + len(hub.folded.index),
        sum(map(len, hub.heartbeat._slots)),
    ) == (0, 0, 0)
    time.sleep(0.2)  # the last connections are being closed
    return len(asyncio.all_tasks(server._loop)), len(gc.get_objects())


def test_disconnected_consumers_leave_no_task_and_no_object(
    server: Serving, thorough: bool
) -> None:
    come_and_go(server, 1_000)
    tasks, objects = counts_after_disconnects(server)
    gc.disable()  # cycles are not freed by reference counting
    try:
        come_and_go(server, 20_000 if thorough else 2_000)
        tasks_after, objects_after = counts_after_disconnects(server)
    finally:
        gc.enable()
    assert tasks_after <= tasks
    assert objects_after < objects + 500


def test_memory_does_not_grow_with_reconnects(process: Service, thorough: bool) -> None:
    come_and_go(process, 2_000)
    before = process.memory()
    come_and_go(process, 20_000 if thorough else 4_000)
    assert process.memory() <= before + 2
