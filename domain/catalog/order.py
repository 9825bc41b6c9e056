"""An order of a service by a customer. The command that confirms it is in `domain.catalog.confirm_order`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from domain.errors import Erased, IllegalTransition
from domain.execution.order_in_time import require_not_before
from domain.execution.parts import Cancellation, Erasure
from domain.model import (
    Aggregate,
    Command,
    Context,
    Creation,
    Event,
    Recorded,
    Versioned,
    aggregate_id,
)
from domain.sealing import Sealed
from domain.types import JsonObject, Priority, Reason, Reference, Text


class OrderStatus(StrEnum):
    """The status of an order."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Order(Aggregate):
    """An order. `execution`: the id of the execution that its confirmation created; `since`: when its status began."""

    service: str
    customer: str
    provider: str
    params: Sealed[dict[str, Any]] | None = None
    priority: Priority = Priority.NORMAL
    status: OrderStatus = OrderStatus.PENDING
    execution: str | None = None
    cancellation: Cancellation | None = None
    erasure: Erasure | None = None
    since: datetime | None = None

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """The customer, and the provider of the service."""
        return self.customer, self.provider

    def refusal(self, command: str) -> IllegalTransition:
        """The error for a command that the status does not allow."""
        return IllegalTransition(
            f"`{command}` is not possible: the order is {self.status}.",
            status=self.status,
            allowedCommands=ALLOWED[self.status],
        )


def require_after_status(order: Order, context: Context) -> None:
    """Check that the present status of the order does not end before it began. Raises Invalid."""
    if order.since is not None:
        require_not_before(context, order.since, f"when the order became `{order.status}`")


class OrderCreated(Event):
    """A customer ordered a service."""

    type: ClassVar[str] = "order.created"
    service: str
    customer: str
    provider: str
    params: Sealed[dict[str, Any]] | None = None
    """Not sealed in the oldest events."""
    priority: Priority = Priority.NORMAL

    @property
    def parties(self) -> tuple[str | None, str | None]:
        return self.customer, self.provider

    def apply(self, state: None, recorded: Recorded) -> Order:
        return Order(
            aggregate_id(recorded.stream),
            self.service,
            self.customer,
            self.provider,
            self.params,
            self.priority,
            since=recorded.when,
        )


class OrderConfirmed(Event):
    """The order was confirmed, and this execution was created for it."""

    type: ClassVar[str] = "order.confirmed"
    execution: str

    def apply(self, state: Order, recorded: Recorded) -> Order:
        return state.evolve(
            status=OrderStatus.CONFIRMED, execution=self.execution, since=recorded.when
        )


class OrderCancelled(Event):
    """The order was cancelled; its executions are not affected."""

    type: ClassVar[str] = "order.cancelled"
    reason: Sealed[str] | None = None

    def apply(self, state: Order, recorded: Recorded) -> Order:
        cancellation = Cancellation(recorded.by, recorded.when, self.reason)
        return state.evolve(
            status=OrderStatus.CANCELLED, cancellation=cancellation, since=recorded.when
        )


class OrderErased(Event):
    """The content of the order was erased: its data key was destroyed in the commit of this event. The reason is not sealed."""

    type: ClassVar[str] = "order.erased"
    erases: ClassVar[bool] = True
    reason: str

    def apply(self, state: Order, recorded: Recorded) -> Order:
        return state.evolve(erasure=Erasure(recorded.by, recorded.when, self.reason))


class CreateOrder(Creation[Order]):
    """Order a service.

    Raises:
        UnknownReference: the service or the customer does not exist.
    """

    wire_name: ClassVar[str] = "createOrder"

    service: Reference
    customer: Reference
    params: JsonObject | None = None
    priority: Priority = Priority.NORMAL

    def reads(
        self, state: Order | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        return f"service/{self.service}", f"user/{self.customer}"

    def create(self, context: Context) -> Iterator[Event]:
        service = context.require("service", "service", self.service)
        context.require("customer", "user", self.customer)
        yield OrderCreated(
            service=self.service,
            customer=self.customer,
            provider=service.provider,
            params=self.params,
            priority=self.priority,
        )


class CancelOrder(Command[Order]):
    """Cancel an order, whether or not it was confirmed; its executions are not affected.

    Raises:
        IllegalTransition: it was cancelled for another reason.
        Invalid: it would be cancelled before it was created or confirmed.
    """

    wire_name: ClassVar[str] = "cancelOrder"

    reason: Text | None = None

    def decide(self, order: Order, context: Context) -> Iterator[Event]:
        if order.cancellation is None:
            require_after_status(order, context)
            given = {"reason": self.reason} if "reason" in self.model_fields_set else {}
            yield OrderCancelled(**given)
        elif self.reason != order.cancellation.reason:
            raise order.refusal("cancel")


class EraseOrder(Command[Order]):
    """Erase the content of an order. A pending order is cancelled; its executions are not affected.

    Raises:
        Erased: it was erased before, for another reason.
        Invalid: it would be erased before its status began.
    """

    wire_name: ClassVar[str] = "eraseOrder"

    reason: Reason

    def decide(self, order: Order, context: Context) -> Iterator[Event]:
        if order.erasure is None:
            require_after_status(order, context)
            if order.status is OrderStatus.PENDING:
                yield OrderCancelled()
            yield OrderErased(reason=self.reason)
        elif self.reason != order.erasure.reason:
            raise Erased("This order was erased already, for another reason.")


EVENTS: tuple[type[Event], ...] = (OrderCreated, OrderConfirmed, OrderCancelled, OrderErased)
COMMANDS: dict[str, type[Command[Order]]] = {
    command.wire_name: command for command in (CreateOrder, CancelOrder, EraseOrder)
}
ALLOWED: dict[OrderStatus, list[str]] = {
    OrderStatus.PENDING: ["confirm", "cancel"],
    OrderStatus.CONFIRMED: ["cancel"],
    OrderStatus.CANCELLED: [],
}
"""The commands that an order accepts in each status."""
