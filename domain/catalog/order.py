"""A service that a customer wants done. How it is confirmed is in `domain.confirm`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from domain.model import Aggregate, Command, Context, Creation, Event, Held, Recorded, aggregate_id
from domain.references import referred
from domain.types import ClearObject, Priority, Reference


class OrderStatus(StrEnum):
    """Where an order stands."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Order(Aggregate):
    """One order; `execution` is the one that its confirmation began."""

    service: str
    customer: str
    provider: str
    params: dict[str, Any] | None = None
    priority: Priority = Priority.NORMAL
    status: OrderStatus = OrderStatus.PENDING
    execution: str | None = None

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """The customer, and the provider of the service."""
        return self.customer, self.provider


class OrderCreated(Event):
    """A customer asked for a service."""

    type: ClassVar[str] = "order.created"
    service: str
    customer: str
    provider: str
    params: dict[str, Any] | None = None
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
        )


class OrderConfirmed(Event):
    """The order is going to be done, by this execution."""

    type: ClassVar[str] = "order.confirmed"
    execution: str

    def apply(self, state: Order, recorded: Recorded) -> Order:
        return state.evolve(status=OrderStatus.CONFIRMED, execution=self.execution)


class CreateOrder(Creation[Order]):
    """Ask for a service.

    Raises:
        UnknownReference: the service or the customer does not exist.
    """

    name: ClassVar[str] = "createOrder"

    service: Reference
    customer: Reference
    params: ClearObject | None = None
    priority: Priority = Priority.NORMAL

    def reads(self, state: Order | None, states: Mapping[str, Held[Any] | None]) -> Iterable[str]:
        return f"service/{self.service}", f"user/{self.customer}"

    def create(self, context: Context) -> Iterator[Event]:
        service = referred(context, "service", "service", self.service)
        referred(context, "customer", "user", self.customer)
        yield OrderCreated(
            service=self.service,
            customer=self.customer,
            provider=service.provider,
            params=self.params,
            priority=self.priority,
        )


EVENTS: tuple[type[Event], ...] = (OrderCreated, OrderConfirmed)
COMMANDS: dict[str, type[Command[Order]]] = {CreateOrder.name: CreateOrder}
