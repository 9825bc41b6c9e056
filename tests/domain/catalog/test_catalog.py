"""Commands on services, workflows, orders and users, and the execution that a confirmed order begins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from domain.catalog.confirm_order import ConfirmOrder
from domain.catalog.order import (
    CancelOrder,
    CreateOrder,
    EraseOrder,
    Order,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderErased,
)
from domain.catalog.service import CreateService, Service, ServiceCreated
from domain.catalog.user import CreateUser, User, UserCreated
from domain.catalog.workflow import CreateWorkflow, Workflow, WorkflowCreated, WorkflowStep
from domain.errors import AlreadyExists, Erased, Invalid, NotFound, UnknownReference
from domain.execution.events.creation import ExecutionCreated
from domain.execution.types import DEFAULT_TIMEOUT, StepPlan
from domain.model import Command, OtherStreamEvent, Versioned
from domain.registry import COMMANDS
from domain.types import Priority, StepAssignee
from projections.representations import catalog
from tests.support.given import NOON, Given, given

ANN = User("ann", name="Ann", kind="person")
ACME = User("acme", name="Acme", kind="organization")
STEP = WorkflowStep(id="a", name="A", assignee=StepAssignee(type="human"))
WORKFLOW = Workflow("w-1", name="Two steps", steps=(STEP,))
SERVICE = Service("s-1", name="Outreach", provider="acme", workflow="w-1")
ORDERED = OrderCreated(
    service="s-1", customer="ann", provider="acme", params={"leads": 2}, priority=Priority.HIGH
)


def on(stream: str, *events: Any) -> Given:
    known = given(*events, stream=stream)
    return known.knowing(
        user__ann=ANN, user__acme=ACME, workflow__w_1=WORKFLOW, service__s_1=SERVICE
    )


def order(*events: Any) -> Given:
    return on("order/o-1", ORDERED, *events)


def test_create_user_records_a_user() -> None:
    event = UserCreated(name="Ann", kind="person")
    after = on("user/ann").when(CreateUser(name="Ann", kind="person")).then(event)
    assert after.state == ANN


def test_create_workflow_records_its_steps() -> None:
    event = WorkflowCreated(name="Two steps", steps=(STEP,))
    after = on("workflow/w-1").when(CreateWorkflow(name="Two steps", steps=(STEP,))).then(event)
    assert after.state == WORKFLOW


def test_workflow_names_each_step_once() -> None:
    command = CreateWorkflow(name="Twice", steps=(STEP, STEP))
    on("workflow/w-1").when(command).refused_field("steps.1.id")


def test_create_service_records_its_provider() -> None:
    command = CreateService(name="Outreach", provider="acme", workflow="w-1")
    event = ServiceCreated(name="Outreach", provider="acme", workflow="w-1")
    assert [*command.reads(None, {})] == ["user/acme", "workflow/w-1"]
    after = on("service/s-1").when(command).then(event)
    assert after.state == SERVICE
    assert after.state.parties == event.parties == (None, "acme")


@pytest.mark.parametrize(
    ("field", "stream"), [("provider", "user__acme"), ("workflow", "workflow__w_1")]
)
def test_service_with_an_unknown_workflow_or_provider_is_refused(field: str, stream: str) -> None:
    command = CreateService(name="Outreach", provider="acme", workflow="w-1")
    unknown = on("service/s-1").knowing(**{stream: None})
    unknown.when(command).refused(UnknownReference, field=field)


def test_order_copies_its_customer_and_provider() -> None:
    command = CreateOrder(
        service="s-1", customer="ann", params={"leads": 2}, priority=Priority.HIGH
    )
    assert [*command.reads(None, {})] == ["service/s-1", "user/ann"]
    after = on("order/o-1").when(command).then(ORDERED)
    assert after.state.parties == ORDERED.parties == ("ann", "acme")


@pytest.mark.parametrize(
    ("field", "stream"), [("service", "service__s_1"), ("customer", "user__ann")]
)
def test_order_with_an_unknown_customer_or_service_is_refused(field: str, stream: str) -> None:
    unknown = on("order/o-1").knowing(**{stream: None})
    unknown.when(CreateOrder(service="s-1", customer="ann")).refused(UnknownReference, field=field)


def test_taken_id_is_refused() -> None:
    order().when(CreateOrder(service="s-1", customer="ann")).refused(AlreadyExists)


def test_confirmed_order_begins_an_execution_with_the_steps_of_the_workflow() -> None:
    execution = ExecutionCreated(
        order="o-1",
        service="s-1",
        customer="ann",
        provider="acme",
        priority=Priority.HIGH,
        timeout=DEFAULT_TIMEOUT,
        workflow="w-1",
        steps=(StepPlan(id="a", name="A", assignee=StepAssignee(type="human")),),
    )
    after = (
        order()
        .when(ConfirmOrder())
        .then(
            OtherStreamEvent("execution/exec_new", execution), OrderConfirmed(execution="exec_new")
        )
    )
    assert (after.state.status, after.state.execution) == ("confirmed", "exec_new")


def test_erasing_a_pending_order_cancels_it() -> None:
    after = (
        order()
        .when(EraseOrder(reason="Ann asked"))
        .then(OrderCancelled(), OrderErased(reason="Ann asked"))
    )
    assert (after.state.status, after.state.erasure.reason) == ("cancelled", "Ann asked")


def test_erasing_a_confirmed_order_leaves_its_status() -> None:
    confirmed = order(OrderConfirmed(execution="exec_1"))
    confirmed.when(EraseOrder(reason="Ann asked")).then(OrderErased(reason="Ann asked"))


def test_repeated_erasure_needs_the_same_reason() -> None:
    erased = order(OrderCancelled(), OrderErased(reason="Ann asked"))
    erased.when(EraseOrder(reason="Ann asked")).then()
    erased.when(EraseOrder(reason="Another")).refused(Erased)


@pytest.mark.parametrize("command", [ConfirmOrder(), CancelOrder(), EraseOrder(reason="r")])
def test_order_does_not_change_before_it_was_created(command: Command[Order]) -> None:
    since = order().state.since
    assert since is not None
    early = command.model_copy(update={"occurred_at": since - timedelta(seconds=1)})
    order().when(early).refused(Invalid)


def test_order_is_not_erased_before_it_was_cancelled() -> None:
    cancelled = order(OrderCancelled())
    since = cancelled.state.since
    assert since is not None
    assert since == cancelled.state.cancellation.at
    early = since - timedelta(seconds=1)
    cancelled.when(EraseOrder(reason="r", occurred_at=early)).refused(Invalid)


def test_order_is_not_cancelled_before_it_was_confirmed() -> None:
    confirmed = order(OrderConfirmed(execution="exec_1"))
    since = confirmed.state.since
    assert since is not None
    confirmed.when(CancelOrder(occurred_at=since - timedelta(seconds=1))).refused(Invalid)
    confirmed.when(CancelOrder(occurred_at=since)).then(OrderCancelled())


def test_service_without_a_workflow_gives_no_steps() -> None:
    plain = order().knowing(service__s_1=SERVICE.evolve(workflow=None))
    begun, _ = plain.when(ConfirmOrder()).events
    assert isinstance(begun, OtherStreamEvent)
    assert isinstance(begun.event, ExecutionCreated)
    assert begun.event.steps == ()


def test_repeated_confirmation_changes_nothing() -> None:
    confirmed = order(OrderConfirmed(execution="e-1"))
    confirmed.when(ConfirmOrder()).then_nothing()
    confirmed.when(ConfirmOrder(execution="e-1")).then_nothing()
    confirmed.when(ConfirmOrder(execution="e-2")).refused(AlreadyExists, execution="e-1")


def test_client_may_choose_an_unused_id_for_the_execution() -> None:
    free = order().knowing(execution__e_1=None)
    assert free.when(ConfirmOrder(execution="e-1")).events[1] == OrderConfirmed(execution="e-1")
    taken = order().knowing(execution__e_1=ACME)
    taken.when(ConfirmOrder(execution="e-1")).refused(AlreadyExists)


def test_confirmation_of_an_unknown_order_is_refused() -> None:
    on("order/o-2").when(ConfirmOrder()).refused(NotFound)


def test_confirmation_reads_streams_one_after_the_other() -> None:
    state, command = order().state, ConfirmOrder(execution="e-1")
    assert [*command.reads(None, {})] == []
    assert [*command.reads(state, {})] == ["execution/e-1", "service/s-1"]
    known = {"service/s-1": Versioned(SERVICE, 1, 1, NOON)}
    assert [*command.reads(state, known)] == ["execution/e-1", "service/s-1", "workflow/w-1"]
    assert [*command.reads(state.evolve(execution="e-1"), known)] == []


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (ANN, {"$type": "User", "$id": "ann", "name": "Ann", "kind": "person"}),
        (
            WORKFLOW,
            {
                "$type": "BusinessWorkflow",
                "$id": "w-1",
                "name": "Two steps",
                "steps": [{"id": "a", "name": "A", "assignee": {"type": "human"}}],
            },
        ),
        (
            SERVICE,
            {
                "$type": "Service",
                "$id": "s-1",
                "name": "Outreach",
                "provider": "acme",
                "workflow": "w-1",
            },
        ),
        (
            Order("o-1", service="s-1", customer="ann", provider="acme"),
            {
                "$type": "ServiceOrder",
                "$id": "o-1",
                "service": "s-1",
                "customer": "ann",
                "priority": "normal",
                "status": "pending",
            },
        ),
    ],
)
def test_catalog_documents_have_only_plain_members(state: Any, shown: dict[str, Any]) -> None:
    document = catalog.document(Versioned(state, 3, 9, NOON))
    assert orjson.loads(orjson.dumps(document)) == {**shown, "version": 3, "position": 9}


@pytest.mark.parametrize(
    ("kind", "word", "body"),
    [
        ("user", "createUser", {"name": "", "kind": "person"}),
        ("user", "createUser", {"name": "Ann", "kind": "robot"}),
        ("workflow", "createWorkflow", {"name": "W"}),
        ("service", "createService", {"name": "S"}),
        ("order", "createOrder", {"service": "s", "customer": "c", "params": [1]}),
        ("order", "createOrder", {"service": "s", "customer": "c", "status": "confirmed"}),
        ("order", "confirm", {"execution": "a b"}),
    ],
)
def test_invalid_body_is_refused(kind: str, word: str, body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        COMMANDS[kind][word].model_validate_json(orjson.dumps(body))


def test_whole_objects_are_accepted_in_place_of_their_ids() -> None:
    body = {"name": "S", "provider": {"$id": "acme", "name": "Acme"}, "workflow": {"$id": "w-1"}}
    command = CreateService.model_validate_json(orjson.dumps(body))
    assert (command.name, command.provider, command.workflow) == ("S", "acme", "w-1")
