"""A legal hold: until it is released, its executions are neither archived nor erased."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from domain.errors import IllegalTransition, Invalid
from domain.execution.order_in_time import require_not_before
from domain.model import (
    Aggregate,
    Command,
    Context,
    Creation,
    Event,
    Recorded,
    State,
    Versioned,
    aggregate_id,
)
from domain.types import Reason, Reference

Executions = Annotated[tuple[Reference, ...], Field(min_length=1, max_length=1_000)]
SCOPES = {"order": "order", "service": "service", "customer": "user"}
"""The members of a hold that name one aggregate, and the kind of its stream."""


class HoldStatus(StrEnum):
    """The status of a hold."""

    ACTIVE = "active"
    RELEASED = "released"


@dataclass(frozen=True)
class Release(State):
    """Why a hold was released, by whom, and when."""

    reason: str
    by: str
    at: datetime


@dataclass(frozen=True)
class Hold(Aggregate):
    """A hold on some executions, or on all of an order, a service or a customer."""

    reason: str
    by: str
    at: datetime
    executions: tuple[str, ...] = ()
    order: str | None = None
    service: str | None = None
    customer: str | None = None
    release: Release | None = None

    @property
    def status(self) -> HoldStatus:
        """`active` until the hold is released."""
        return HoldStatus.ACTIVE if self.release is None else HoldStatus.RELEASED


class HoldPlaced(Event):
    """A hold was placed: from now on its executions are neither archived nor erased."""

    type: ClassVar[str] = "hold.placed"
    executions: tuple[str, ...] = ()
    order: str | None = None
    service: str | None = None
    customer: str | None = None
    reason: str

    def apply(self, state: None, recorded: Recorded) -> Hold:
        return Hold(
            aggregate_id(recorded.stream),
            self.reason,
            recorded.by,
            recorded.when,
            self.executions,
            self.order,
            self.service,
            self.customer,
        )


class HoldReleased(Event):
    """The hold was released: it has no effect any more."""

    type: ClassVar[str] = "hold.released"
    reason: str

    def apply(self, state: Hold, recorded: Recorded) -> Hold:
        return state.evolve(release=Release(self.reason, recorded.by, recorded.when))


class PlaceHold(Creation[Hold]):
    """Place a hold on some executions, or on all of an order, a service or a customer.

    Raises:
        Invalid: it names nothing, or more than one of the alternatives.
        UnknownReference: what it names does not exist.
    """

    wire_name: ClassVar[str] = "placeHold"

    executions: Executions | None = None
    order: Reference | None = None
    service: Reference | None = None
    customer: Reference | None = None
    reason: Reason

    def reads(
        self, state: Hold | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        return [f"{kind}/{identity}" for _, kind, identity in self._named_things()]

    def create(self, context: Context) -> Iterator[Event]:
        named = list(self._named_things())
        if len({field for field, _, _ in named}) != 1:
            raise Invalid.field(
                "", "must name one alone of `executions`, `order`, `service` and `customer`"
            )
        for field, kind, identity in named:
            context.require(field, kind, identity)
        if self.executions:
            yield HoldPlaced(executions=self.executions, reason=self.reason)
        else:
            yield HoldPlaced.model_validate({named[0][0]: named[0][2], "reason": self.reason})

    def _named_things(self) -> Iterator[tuple[str, str, str]]:
        """The field, kind and id of each aggregate that the hold names."""
        for identity in self.executions or ():
            yield "executions", "execution", identity
        for field, kind in SCOPES.items():
            if identity := getattr(self, field):
                yield field, kind, identity


class ReleaseHold(Command[Hold]):
    """Release a hold.

    Raises:
        IllegalTransition: the hold was released before, for another reason.
        Invalid: it would be released before it was placed.
    """

    wire_name: ClassVar[str] = "releaseHold"

    reason: Reason

    def decide(self, hold: Hold, context: Context) -> Iterator[Event]:
        if hold.release is None:
            require_not_before(context, hold.at, "when the hold was placed")
            yield HoldReleased(reason=self.reason)
        elif self.reason != hold.release.reason:
            raise IllegalTransition(
                "The hold was released already, for another reason.",
                status=hold.status,
                allowedCommands=[],
            )


EVENTS: tuple[type[Event], ...] = (HoldPlaced, HoldReleased)
COMMANDS: dict[str, type[Command[Hold]]] = {
    command.wire_name: command for command in (PlaceHold, ReleaseHold)
}
