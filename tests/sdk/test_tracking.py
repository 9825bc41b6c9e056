"""Work is recorded while it is done: its beginning, its steps and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service_executions import (
    Agent,
    AsyncClient,
    Client,
    ConnectionFailed,
    Execution,
    Result,
    Unauthenticated,
)
from service_executions.testing import FakeClient
from tests.support.ports import free_port
from tests.support.running_server import TOKEN, Serving

WHERE: dict[str, Any] = {"order": "order-batch", "service": "batch"}


def read(client: Client, id: str) -> Execution:  # noqa: A002 - it is the id
    return client.executions.get(id)


def statuses(run: Execution) -> list[tuple[str, str]]:
    return [(step.id, step.status) for step in run.steps]


@pytest.mark.parametrize("on_error", ["raise", "buffer"])
def test_work_is_recorded_with_its_steps(client: Client, on_error: Any) -> None:
    with client.track(
        **WHERE, assignee=Agent("claude", "Claude"), tags=["t"], on_error=on_error
    ) as run:
        with run.step("research", "Research lead", input={"lead_id": 42}) as step:
            step.output = {"emails": 2}
            step.usage(tokens=1800, cost="0.0123", model="claude-sonnet-4.5")
            with run.step("search", kind="tool"):
                run.log("found 10", context={"of": 12})
        run.progress(50)
        run.checkpoint({"row": 3})
        run.result = Result(True, output={"sent": 2}, summary="All steps completed")
    assert client.flush(10)
    assert list(client.buffer.refused) == []
    seen = read(client, run.id)
    assert (seen.status, seen.tags) == ("completed", ["t"])
    research, search = seen.steps
    assert (research.status, research.input, research.output) == (
        "completed",
        {"lead_id": 42},
        {"emails": 2},
    )
    assert research.metrics is not None
    assert (research.metrics.tokens_used, research.metrics.cost) == (1800, 0.0123)
    assert (search.parent, search.kind, search.status) == ("research", "tool", "completed")
    assert seen.result is not None
    assert seen.result.summary == "All steps completed"
    line = next(line for line in seen.logs() if line.message == "found 10")
    assert (line.step, line.context) == ("search", {"of": 12})


@pytest.mark.parametrize("on_error", ["raise", "buffer"])
def test_exception_fails_step_and_execution_and_is_raised(client: Client, on_error: Any) -> None:
    with (
        pytest.raises(ValueError, match="no such lead"),
        client.track(**WHERE, on_error=on_error) as run,
        run.step("outer"),
        run.step("inner"),
    ):
        raise ValueError("no such lead")
    assert client.flush(10)
    seen = read(client, run.id)
    assert seen.status == "failed"
    assert seen.error is not None
    assert (seen.error.code, seen.error.message) == ("ValueError", "no such lead")
    assert (seen.error.step, seen.error.recoverable) == ("inner", False)
    assert "test_tracking.py" in (seen.error.stack or "")
    assert statuses(seen) == [("outer", "failed"), ("inner", "failed")]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_interruption_cancels_the_execution(client: Client, end: type[BaseException]) -> None:
    with pytest.raises(end), client.track(**WHERE) as run, run.step("a"):
        raise end
    seen = read(client, run.id)
    assert (seen.status, statuses(seen)) == ("cancelled", [("a", "skipped")])


def test_work_that_reports_its_failure_is_recorded_as_failed(client: Client) -> None:
    with client.track(**WHERE) as run, run.step("a"):
        run.fail("EXIT_2", "make exited with 2")
    seen = read(client, run.id)
    assert seen.error is not None
    assert (seen.status, seen.error.code) == ("failed", "EXIT_2")


def test_decorated_functions_are_recorded(client: Client) -> None:
    @client.step("greet", "Greet", capture=True)
    def greet(name: str, *, twice: bool = False) -> str:
        return f"hello {name}" * (2 if twice else 1)

    @client.track(**WHERE, id="decorated")
    def work(names: list[str]) -> list[str]:
        return [greet(name) for name in names]

    assert greet("you") == "hello you"  # without a run nothing is recorded
    assert work(["a", "b"]) == ["hello a", "hello b"]
    seen = read(client, "decorated")
    assert [(step.id, step.input, step.output) for step in seen.steps] == [
        ("greet", {"name": "a", "twice": False}, "hello a"),
        ("greet-2", {"name": "b", "twice": False}, "hello b"),
    ]


def test_arguments_are_recorded_only_if_requested(client: Client) -> None:
    @client.step("login")
    def login(password: str) -> str:
        return password

    with client.track(**WHERE) as run:
        login("secret")
    step = read(client, run.id).steps[0]
    assert (step.input, step.output) == (None, None)


async def test_coroutine_functions_are_recorded_by_both_clients(
    client: Client, async_client: AsyncClient
) -> None:
    @client.track(**WHERE, id="by-client")
    async def by_client() -> None:
        await inner()

    @client.step("inner")
    async def inner() -> None:
        await asyncio.sleep(0)

    @async_client.track(**WHERE, id="by-async-client")
    async def by_async_client() -> None:
        async with async_client.step("outer"):
            await inner_too()

    @async_client.step("inner")
    async def inner_too() -> None:
        await asyncio.sleep(0)

    await by_client()
    await by_async_client()
    first, second = read(client, "by-client"), read(client, "by-async-client")
    assert (first.status, statuses(first)) == ("completed", [("inner", "completed")])
    assert statuses(second) == [("outer", "completed"), ("inner", "completed")]
    assert second.steps[1].parent == "outer"
    with pytest.raises(TypeError):
        async_client.track(**WHERE)(lambda: None)


async def test_cancelled_task_cancels_its_execution(
    client: Client, async_client: AsyncClient
) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with async_client.track(**WHERE, id="cancelled") as run, run.step("a"):
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert read(client, "cancelled").status == "cancelled"


async def test_concurrent_tasks_are_steps_of_their_own_runs(
    client: Client, async_client: AsyncClient
) -> None:
    async def work(number: int) -> None:
        tracking = async_client.track(**WHERE, id=f"beside-{number}")
        async with tracking, async_client.step(f"step-{number}"):
            await asyncio.sleep(0.01)

    await asyncio.gather(*map(work, range(5)))
    for number in range(5):
        assert statuses(read(client, f"beside-{number}")) == [(f"step-{number}", "completed")]


PROGRAM = """
import asyncio, os, sys, time
from service_executions import AsyncClient, Client

def work(client):
    with client.track(order="order-batch", service="batch", id=sys.argv[2], on_error=sys.argv[3]):
        print("working", flush=True)
        time.sleep(60)

async def work_too(client):
    async with client, client.track(
        order="order-batch", service="batch", id=sys.argv[2], on_error=sys.argv[3]
    ):
        print("working", flush=True)
        await asyncio.sleep(60)

if sys.argv[1] == "sync":
    work(Client())
else:
    asyncio.run(work_too(AsyncClient()))
"""


@pytest.mark.parametrize("half", ["sync", "async"])
@pytest.mark.parametrize("on_error", ["raise", "buffer"])
def test_sigterm_cancels_the_execution_and_ends_the_process(
    server: Serving, client: Client, tmp_path: Path, half: str, on_error: str
) -> None:
    id_ = f"terminated-{half}-{on_error}"
    environment = {
        **os.environ,
        "EXECUTIONS_URL": server.url,
        "EXECUTIONS_TOKEN": TOKEN,
        "XDG_STATE_HOME": str(tmp_path),
    }
    arguments = [sys.executable, "-c", PROGRAM, half, id_, on_error]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    seen = read(client, id_)
    assert seen.status == "cancelled"


def test_failure_to_record_is_raised_if_requested() -> None:
    client = Client(f"http://127.0.0.1:{free_port()}", TOKEN, max_retries=0)
    with pytest.raises(ConnectionFailed), client.track(**WHERE):
        pass


def test_error_of_the_work_is_not_hidden_by_one_of_the_recording(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        with client.track(**WHERE):
            monkeypatch.setattr(client.transport.http, "request", lambda *_, **__: 1 / 0)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        work()


async def test_error_of_a_coroutine_function_is_not_hidden_by_one_of_the_recording(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = FakeClient()

    @client.track(**WHERE)
    async def work() -> None:
        monkeypatch.setattr(client.transport.http, "request", lambda *_, **__: 1 / 0)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await work()


def test_buffered_recording_never_raises_into_the_work(client: Client) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with client.track(**WHERE, on_error="buffer") as run, run.step("a") as step:
        step.usage(cost="no number")
        step.usage(cost="0.1234567890123456789")
        run.log("x", context={"endless": endless})
        step.output = endless
    with client.track(**WHERE) as strict, pytest.raises(ValueError, match="more digits"):
        strict.usage(cost="0.1234567890123456789")
    assert client.flush(10)
    assert read(client, run.id).status == "completed"


def test_wrong_token_is_raised_at_the_start(server: Serving) -> None:
    with (
        Client(server.url, "not-the-right-token") as stranger,
        pytest.raises(Unauthenticated),
        stranger.track(**WHERE),
    ):
        pass
