"""A person or an organization: who orders, who provides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from domain.kernel import Aggregate, Command, Context, Creation, Event, Held, Recorded, aggregate_id
from domain.values import Name

Kind = Literal["person", "organization"]


@dataclass(frozen=True)
class User(Aggregate):
    """Someone who can be a customer or a provider."""

    name: str
    kind: Kind


class UserCreated(Event):
    """Someone became known."""

    type: ClassVar[str] = "user.created"
    name: str
    kind: Kind

    def apply(self, state: None, recorded: Recorded) -> User:
        return User(aggregate_id(recorded.stream), self.name, self.kind)


class CreateUser(Creation[User]):
    """Make someone known."""

    name: ClassVar[str] = "createUser"

    called: Name = Field(alias="name")
    kind: Kind

    def create(self, context: Context) -> Iterator[Event]:
        yield UserCreated(name=self.called, kind=self.kind)


EVENTS: tuple[type[Event], ...] = (UserCreated,)
COMMANDS: dict[str, type[Command[User]]] = {CreateUser.name: CreateUser}


def document(held: Held[User]) -> dict[str, Any]:
    """The user as clients see it."""
    user = held.state
    return {
        "$type": "User",
        "$id": user.id,
        "name": user.name,
        "kind": user.kind,
        "version": held.version,
        "position": held.position,
    }
