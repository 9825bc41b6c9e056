"""A user: a person or an organization, which can be a customer and a provider."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from domain.model import Aggregate, Command, Context, Creation, Event, Recorded, aggregate_id
from domain.types import Name

Kind = Literal["person", "organization"]


@dataclass(frozen=True)
class User(Aggregate):
    """A person or an organization, which can be a customer and a provider."""

    name: str
    kind: Kind


class UserCreated(Event):
    """A user was created."""

    type: ClassVar[str] = "user.created"
    name: str
    kind: Kind

    def apply(self, state: None, recorded: Recorded) -> User:
        return User(aggregate_id(recorded.stream), self.name, self.kind)


class CreateUser(Creation[User]):
    """Create a user."""

    wire_name: ClassVar[str] = "createUser"

    name: Name
    kind: Kind

    def create(self, context: Context) -> Iterator[Event]:
        yield UserCreated(name=self.name, kind=self.kind)


EVENTS: tuple[type[Event], ...] = (UserCreated,)
COMMANDS: dict[str, type[Command[User]]] = {CreateUser.wire_name: CreateUser}
