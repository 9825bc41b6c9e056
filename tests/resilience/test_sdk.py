"""The service is killed and restarted while the SDK uses it: nothing is lost or recorded twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from service_executions import Client, Stream
from service_executions.frames import Event
from tests.support.service_process import TOKEN, Service

RUNS = 20


@pytest.fixture
def client(process: Service) -> Iterator[Client]:
    with Client(process.url, TOKEN, max_retries=12) as made:
        made.users.create("acme", name="Acme", kind="organization")
        made.services.create("sdr", name="SDR", provider="acme")
        made.orders.create("order-1", service="sdr", customer="acme")
        yield made


def kill_and_start(process: Service, done: threading.Event, kills: int) -> None:
    for _ in range(kills):
        time.sleep(0.5)
        process.kill()
        time.sleep(0.3)
        process.start()
    done.set()


def listen(stream: Stream[Event], found: list[int]) -> None:
    for event in stream:
        found.append(event.position)
        if event.type == "order.created" and event.subject == "last":
            return


def test_listener_misses_nothing_while_the_service_is_killed(
    process: Service, client: Client, tmp_path: Path, thorough: bool
) -> None:
    found: list[int] = []
    stream = client.listen(start="start", cursor=str(tmp_path / "place"))
    listener = threading.Thread(target=listen, args=(stream, found))
    listener.start()
    done = threading.Event()
    killer = threading.Thread(target=kill_and_start, args=(process, done, 5 if thorough else 1))
    killer.start()
    made: list[str] = []
    while not done.is_set() or len(made) < RUNS:
        run = client.executions.create(order="order-1", service="sdr", status="running")
        run.update_progress(50)
        run.pause()
        run.resume()
        run.record_usage(tokens=1)
        run.complete()
        assert (run.metrics.tokens_used, run.status) == (1, "completed")
        made.append(run.id)
    killer.join()
    client.orders.create("last", service="sdr", customer="acme")
    listener.join(60)
    assert not listener.is_alive()
    positions = [row.position for row in process.events()]
    assert found == positions
    begun = [row for row in process.events() if row.type == "execution.created"]
    assert sorted(row.stream.removeprefix("execution/") for row in begun) == sorted(made)
    paused = [row for row in process.events() if row.type == "execution.paused"]
    assert len(paused) == len(made)


def test_buffered_work_is_recorded_once_while_the_service_is_killed(
    process: Service, client: Client, tmp_path: Path, thorough: bool
) -> None:
    done = threading.Event()
    killer = threading.Thread(target=kill_and_start, args=(process, done, 5 if thorough else 1))
    killer.start()
    made: list[str] = []
    with Client(process.url, TOKEN, spool=str(tmp_path)) as recorder:
        while not done.is_set():
            tracking = recorder.track(order="order-1", service="sdr", on_error="buffer")
            with tracking as run, run.step("work") as step:
                step.usage(tokens=1)
                run.log("done")
                time.sleep(0.005)
            made.append(run.id)
        killer.join()
        assert recorder.flush(30)
        assert list(recorder.buffer.refused) == []
    assert len(made) > 20
    counted = Counter(row.type for row in process.events() if row.stream.startswith("execution/"))
    once = (
        "created",
        "starting",
        "started",
        "step.started",
        "usage",
        "step.completed",
        "completed",
    )
    assert counted == {f"execution.{name}": len(made) for name in once}
    run_ids = {row.stream.removeprefix("execution/") for row in process.events()}
    assert set(made) <= run_ids
    lines = [line.message for line in client.executions[made[-1]].logs()]
    assert lines == ["done", "Request completed"]
