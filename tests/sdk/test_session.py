"""Reads include the earlier writes of the same client."""

from __future__ import annotations

from service_executions import AsyncClient, Client
from service_executions.session import Session
from tests.support.running_server import Serving
from tests.support.scripted_service import DOCUMENT, PAGE, ScriptedService, answered, problem


def test_list_waits_for_the_highest_position_of_any_answer() -> None:
    service = ScriptedService(
        answered(DOCUMENT, log_position="40", log_id="a"),
        answered(DOCUMENT, log_position="12", log_id="a"),
        answered(PAGE),
    )
    client = service.client()
    client.executions["run-1"].start()
    client.executions["run-1"].refresh()
    client.executions.find().page()
    query = service.requests[-1].url.params
    assert (query["minPosition"], query["log"]) == ("40", "a")
    assert service.sent("prefer")[-1] == "wait=15"


def test_single_execution_is_current_and_does_not_wait() -> None:
    service = ScriptedService(answered(DOCUMENT, log_position="40"), answered(DOCUMENT))
    run = service.client().executions["run-1"].start()
    run.refresh()
    assert "minPosition" not in service.requests[-1].url.params


def test_client_without_consistency_does_not_wait() -> None:
    service = ScriptedService(answered(DOCUMENT, log_position="40"), answered(PAGE))
    client = service.client(consistency="eventual")
    client.executions["run-1"].start()
    client.executions.find().page()
    assert "minPosition" not in service.requests[-1].url.params


def test_position_of_a_log_that_was_restored_is_forgotten() -> None:
    service = ScriptedService(
        answered(DOCUMENT, log_position="40", log_id="a"),
        problem(410, "other-log", log="b"),
        answered(PAGE, log_position="30", log_id="b"),
        answered(PAGE),
    )
    client = service.client()
    client.executions["run-1"].start()
    client.executions.find().page()
    client.executions.find().page()
    assert "minPosition" not in service.requests[2].url.params
    assert service.requests[3].url.params["minPosition"] == "30"


def test_session_is_shared_by_clients_of_other_options() -> None:
    service = ScriptedService(answered(DOCUMENT, log_position="40"), answered(PAGE))
    client = service.client()
    client.with_options(worker="w").executions["run-1"].start()
    client.executions.find().page()
    assert service.sent("x-worker") == ["w", None]
    assert service.requests[-1].url.params["minPosition"] == "40"


def test_answer_without_a_position_changes_nothing() -> None:
    session = Session("a", 7)
    session.note({"log-id": "b"})
    assert session == Session("a", 7)


def test_list_has_the_latest_write(client: Client) -> None:
    for _ in range(20):
        run = client.executions.create(order="order-batch", service="batch")
        assert run.id in {found.id for found in client.executions.list(order=run.order)}


async def test_asynchronous_list_has_the_latest_write(
    server: Serving, async_client: AsyncClient
) -> None:
    for _ in range(20):
        run = await async_client.executions.create(order="order-batch", service="batch")
        found = await async_client.executions.find({"$id": run.id}).first()
        assert found is not None
        assert found.version == run.version
