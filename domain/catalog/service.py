"""A service that can be ordered: its name, provider and usual workflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

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
from domain.types import Name, Reference, Text


@dataclass(frozen=True)
class Service(Aggregate):
    """A service of one provider."""

    name: str
    provider: str
    workflow: str | None = None
    description: str | None = None

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """The provider, without a customer."""
        return None, self.provider


class ServiceCreated(Event):
    """A service was offered."""

    type: ClassVar[str] = "service.created"
    name: str
    provider: str
    workflow: str | None = None
    description: str | None = None

    @property
    def parties(self) -> tuple[str | None, str | None]:
        return None, self.provider

    def apply(self, state: None, recorded: Recorded) -> Service:
        return Service(
            aggregate_id(recorded.stream),
            self.name,
            self.provider,
            self.workflow,
            self.description,
        )


class CreateService(Creation[Service]):
    """Offer a service.

    Raises:
        UnknownReference: the provider or the workflow does not exist.
    """

    wire_name: ClassVar[str] = "createService"

    name: Name
    provider: Reference
    workflow: Reference | None = None
    description: Text | None = None

    def reads(
        self, state: Service | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        yield f"user/{self.provider}"
        if self.workflow:
            yield f"workflow/{self.workflow}"

    def create(self, context: Context) -> Iterator[Event]:
        context.require("provider", "user", self.provider)
        if self.workflow:
            context.require("workflow", "workflow", self.workflow)
        yield ServiceCreated(
            name=self.name,
            provider=self.provider,
            workflow=self.workflow,
            description=self.description,
        )


EVENTS: tuple[type[Event], ...] = (ServiceCreated,)
COMMANDS: dict[str, type[Command[Service]]] = {CreateService.wire_name: CreateService}
