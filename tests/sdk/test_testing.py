"""Programs that record can be tested with a fake client."""

from __future__ import annotations

import os
from typing import Any

import pytest

from service_executions import Client, NotFound, Result, Step
from service_executions.testing import AsyncFakeClient, FakeClient, Recorded

WHERE: dict[str, Any] = {"order": "o", "service": "s"}


def program(client: Client, on_error: Any) -> str:
    """A program that records."""
    with client.track(**WHERE, id="run-1", on_error=on_error) as run:
        with run.step("send", input={"to": "x"}) as step:
            step.output = {"ok": True}
            step.usage(tokens=3)
        run.log("sent")
        run.progress(50)
        run.result = Result(True, 1, "Sent")
    return run.id


EXPECTED = [
    "create",
    "startStep",
    "recordUsage",
    "completeStep",
    "log",
    "updateProgress",
    "complete",
]


@pytest.mark.parametrize("on_error", ["raise", "buffer"])
def test_fake_client_stores_every_command(on_error: Any) -> None:
    client = FakeClient()
    program(client, on_error)
    client.flush(10)
    assert [each.command for each in client.commands] == EXPECTED
    assert {each.execution for each in client.commands} == {"run-1"}
    step = client.commands[1].members
    assert (step["step"], step["input"]) == ("send", {"to": "x"})
    run = client.executions.get("run-1")
    assert (run.status, run.progress) == ("completed", 50)
    assert [(each.id, each.status, each.output) for each in run.steps] == [
        ("send", "completed", {"ok": True})
    ]
    client.close()


@pytest.mark.parametrize("on_error", ["raise", "buffer"])
def test_failure_is_recorded_with_any_message(on_error: Any) -> None:
    client = FakeClient()
    name = os.fsdecode(b"caf\xe9.txt")
    with (
        pytest.raises(ValueError, match="cannot read"),
        client.track(**WHERE, id="run-1", on_error=on_error) as run,
        run.step("read"),
    ):
        raise ValueError(f"cannot read {name}")
    client.flush(10)
    seen = client.executions.get("run-1")
    assert (seen.status, seen.steps[0].status) == ("failed", "failed")
    assert seen.error is not None
    assert seen.error.message == "cannot read caf?.txt"
    client.close()


async def test_asynchronous_fake_client_stores_every_command() -> None:
    client = AsyncFakeClient()
    async with client.track(**WHERE, on_error="buffer") as run, run.step("a"):
        pass
    await client.flush(10)
    await client.executions[run.id].update(tags=["x"])
    assert [each.command for each in client.commands] == [
        "create",
        "startStep",
        "completeStep",
        "complete",
        "update",
    ]
    await client.aclose()


def test_fake_client_shows_recorded_messages() -> None:
    client = FakeClient()
    order = client.orders.create("o-1", service="s", customer="c")
    run = client.executions.create(order=order, service="s", steps=[Step("a", "A")])
    run.start()
    run.start_step("a")
    run.fail_step("a", "E", "m")
    run.fail("E", "m", step="a")
    assert (run.status, run.order, run.steps[0].status) == ("failed", "o-1", "failed")
    assert run.error is not None
    assert run.error.code == "E"
    assert client.commands[0] == Recorded("createOrder", None, client.commands[0].members)
    assert client.executions.find().count() == 1
    assert client.with_options(worker="w").commands is client.commands
    with pytest.raises(NotFound, match=r"testing\.Server"):
        client.inbox().page()


def test_failure_without_a_readable_message_is_recorded() -> None:
    class Unreadable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no message")

    client = FakeClient()
    with pytest.raises(Unreadable), client.track(**WHERE, id="run-1"):
        raise Unreadable
    seen = client.executions.get("run-1")
    assert seen.error is not None
    assert (seen.error.code, seen.error.message) == ("Unreadable", "<exception str() failed>")
    client.close()
