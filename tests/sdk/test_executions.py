"""Commands return the refreshed object on which they were called; lists are read lazily."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service_executions import (
    Client,
    IllegalTransition,
    Invalid,
    NotFound,
    NotLoaded,
    Result,
    Retry,
    UnknownReference,
    Usage,
)


def test_command_returns_and_refreshes_the_same_object(client: Client) -> None:
    run = client.executions.create(order="order-batch", service="batch")
    seen = [run.status]
    for command in (run.start, run.pause, run.resume, run.complete):
        assert command() is run
        seen.append(run.status)
    assert seen == ["queued", "running", "paused", "running", "completed"]
    assert run.is_ended


def test_handle_accepts_commands_before_it_is_read(client: Client) -> None:
    created = client.executions.create(order="order-batch", service="batch")
    handle = client.executions[created.id]
    with pytest.raises(NotLoaded):
        _ = handle.status
    assert "not read" in repr(handle)
    assert handle.start().status == "running"


def test_given_members_are_sent(client: Client) -> None:
    run = client.executions.create(
        order="order-batch",
        service="batch",
        status="running",
        steps_total=10,
        timeout=timedelta(hours=2),
        retry_policy=Retry(1, jitter="full"),
        tags=["eu"],
        metadata={"my_key": {"is_it": 1}},
    )
    run.start_step("s/1", "Step", input={"a_b": 1}, kind="tool")
    run.complete_step("s/1", {"n": 2}, usage=Usage(10, "0.01"))
    run.record_usage(tokens=5, cost="0.02", api_calls=1)
    run.checkpoint({"at_row": 3})
    run.update(priority="high", clear=["tags"])
    step = run.steps[0]
    assert (step.id, step.input, step.output, step.kind) == ("s/1", {"a_b": 1}, {"n": 2}, "tool")
    metrics = run.metrics
    assert (metrics.tokens_used, metrics.cost, metrics.api_calls) == (15, 0.03, 1)
    assert (run.timeout, run.priority, run.tags) == (7_200_000, "high", [])
    assert run.metadata.model_extra == {"my_key": {"is_it": 1}}
    assert run.checkpoints[-1].state == {"at_row": 3}
    assert run.document.retry_policy is not None
    assert run.document.retry_policy.jitter == "full"
    assert run.update(clear=["retry_policy"]).document.retry_policy is None


def test_refusals_suggest_valid_values(client: Client) -> None:
    run = client.executions.create(order="order-batch", service="batch")
    with pytest.raises(IllegalTransition) as refused:
        run.resume()
    assert refused.value.current_status == "queued"
    assert "start" in refused.value.allowed_commands
    with pytest.raises(Invalid) as invalid:
        run.update_progress(101)
    assert [each["path"] for each in invalid.value.errors] == ["progress"]
    with pytest.raises(UnknownReference):
        client.executions.create(order="nowhere", service="batch")
    with pytest.raises(NotFound):
        client.executions.get("nothing")


def test_list_is_read_page_by_page(client: Client) -> None:
    made = [
        client.executions.create(order="order-batch", service="batch", tags=["paged"]).id
        for _ in range(7)
    ]
    query = client.executions.find({"tag": "paged"}, sort="metadata.createdAt", limit=3)
    page = query.page()
    assert (len(page.data), page.has_more) == (3, True)
    assert [run.id for run in query] == made
    assert [run.id for run in query.all(limit=4)] == made[:4]
    assert query.count() == 7
    first = query.first()
    assert first is not None
    assert first.id == made[0]
    assert client.executions.find({"tag": "nobody"}).first() is None


def test_past_and_changes_of_an_execution_are_read(client: Client) -> None:
    run = client.executions.create(order="order-batch", service="batch").start()
    assert run.at(version=1).status == "queued"
    assert client.executions.get(run.id, version=1).status == "queued"
    status = [change for change in run.diff(1, 3) if change.path == "/status"]
    assert [(change.value, change.event.type) for change in status][-1:] == [
        ("running", "execution.started")
    ]
    assert [event.type for event in run.events("execution.start*")] == [
        "execution.starting",
        "execution.started",
    ]
    assert run.fork(1).status == "queued"
    assert run.compare(run)["difference"] is not None


def test_event_is_dated_by_occurred_at(client: Client) -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    run = client.executions.create(
        order="order-batch", service="batch", status="running", occurred_at=before
    )
    assert run.metrics.started_at == before.replace(microsecond=before.microsecond // 1000 * 1000)


def test_work_is_claimed_by_one_worker(client: Client) -> None:
    made = client.executions.create(order="order-batch", service="batch", priority="urgent")
    claimed = client.executions.claim("worker-1", service="batch", lease=timedelta(minutes=1))
    assert claimed is not None
    assert claimed.id == made.id
    assert claimed.claimed_by is not None
    assert claimed.claimed_by.worker == "worker-1"
    assert client.executions.claim("worker-1", service="content-service") is None
    client.executions.get(made.id).cancel()
    with pytest.raises(IllegalTransition):
        claimed.heartbeat("worker-1")


def test_heartbeat_refreshes_only_the_status(client: Client) -> None:
    made = client.executions.create(order="order-batch", service="batch", status="running")
    client.executions.get(made.id).pause()
    assert made.heartbeat().status == "paused"
    assert made.priority == "normal"


def test_many_commands_are_sent_in_one_request(client: Client) -> None:
    outcomes = client.send(
        [
            {
                "command": "create",
                "execution": "many-1",
                "order": "order-batch",
                "service": "batch",
            },
            {"command": "start", "execution": "many-1"},
            {"command": "resume", "execution": "many-2"},
        ]
    )
    assert [outcome["status"] for outcome in outcomes] == [201, 200, 404]


def test_bulk_command_is_done_and_counted(client: Client) -> None:
    for _ in range(3):
        client.executions.create(order="order-batch", service="batch", tags=["bulk"])
    assert client.executions.preview("cancel", {"tag": "bulk"}).would_change == 3
    job = client.executions.bulk("cancel", {"tag": "bulk"}, reason="not needed")
    assert job.matching == 3
    assert client.job(job.id).command == "cancel"


def test_orders_are_confirmed_and_cancelled(client: Client) -> None:
    order = client.orders.create("order-x", service="batch", customer="acme", params={"my_key": 1})
    assert (order.status, order.params) == ("pending", {"my_key": 1})
    confirmed = client.orders.confirm(order.id)
    assert confirmed.execution is not None
    assert client.executions.get(confirmed.execution).order == order.id
    assert client.orders.cancel(order.id, "changed my mind").status == "cancelled"
    assert order.id in {each.id for each in client.orders.list(service="batch")}


def test_result_and_usage_end_an_execution(client: Client) -> None:
    run = client.executions.create(order="order-batch", service="batch", status="running")
    run.complete(Result(False, {"sent": 0}, "Nobody there"), usage=Usage(7))
    assert run.result is not None
    assert (run.result.success, run.result.output) == (False, {"sent": 0})
    assert run.metrics.tokens_used == 7
