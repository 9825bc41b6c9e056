"""The command that confirms an order, and creates its execution in the same commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from domain.catalog.order import Order, OrderConfirmed, OrderStatus, require_after_status
from domain.catalog.service import Service
from domain.catalog.workflow import Workflow
from domain.errors import AlreadyExists
from domain.execution.events.creation import ExecutionCreated
from domain.execution.types import DEFAULT_TIMEOUT, StepPlan, copy_set_fields
from domain.model import Command, Context, OtherStreamEvent, Recordable, Versioned
from domain.types import Id


class ConfirmOrder(Command[Order]):
    """Create the execution of an order, with the steps of the workflow of its service.

    An order has one execution by confirmation: a repeat changes nothing.

    Raises:
        AlreadyExists: the chosen execution exists, or the order has another one.
        IllegalTransition: the order was cancelled.
        Invalid: it would be confirmed before it was created.
    """

    wire_name: ClassVar[str] = "confirm"

    execution: Id | None = None

    def reads(
        self, state: Order | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        if state is None or state.execution:
            return
        if self.execution:
            yield f"execution/{self.execution}"
        stream = f"service/{state.service}"
        yield stream
        service = states.get(stream)
        if service and service.state.workflow:
            yield f"workflow/{service.state.workflow}"

    def decide(self, order: Order, context: Context) -> Iterator[Recordable]:
        if order.status is OrderStatus.CANCELLED:
            raise order.refusal(self.wire_name)
        if order.execution:
            if self.execution in (None, order.execution):
                return
            raise AlreadyExists(
                "The order already has another execution; `execution` names it.",
                execution=order.execution,
            )
        require_after_status(order, context)
        if self.execution and context.state(f"execution/{self.execution}"):
            raise AlreadyExists
        execution = self.execution or context.new_id("exec")
        # The event of the order comes last, as its position is in the answer, and so covers the event of the execution.
        yield OtherStreamEvent(f"execution/{execution}", _execution_created(order, context))
        yield OrderConfirmed(execution=execution)


def _execution_created(order: Order, context: Context) -> ExecutionCreated:
    service: Service = context.require("service", "service", order.service)
    created = ExecutionCreated(
        order=order.id,
        service=service.id,
        customer=order.customer,
        provider=service.provider,
        priority=order.priority,
        timeout=DEFAULT_TIMEOUT,
    )
    if not service.workflow:
        return created
    workflow: Workflow = context.require("workflow", "workflow", service.workflow)
    steps = tuple(copy_set_fields(step, StepPlan) for step in workflow.steps)
    return copy_set_fields(created, ExecutionCreated, workflow=workflow.id, steps=steps)
