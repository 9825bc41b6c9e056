"""An API key: its role, party and rights, until it is revoked or expires. The text of the key is not stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from domain.access.revocation import Revocation
from domain.errors import Invalid
from domain.execution.order_in_time import require_not_before
from domain.json_forms import Time, format_time
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
from domain.types import Id, Label

KeyRole = Literal["admin", "operator", "customer", "provider", "assignee", "auditor"]
OF_NOBODY = frozenset({"admin", "operator"})
"""Roles whose keys have no party."""
OF_USERS = frozenset({"customer", "provider"})
"""Roles whose party is the id of an existing user."""


class KeyStatus(StrEnum):
    """Whether a key is valid. `expired` follows from the present time, without an event."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Key(Aggregate):
    """An API key.

    `digest`: an HMAC of its text; `rights`: which rights of its role it has, None for all; `customer`, `provider`: the key of
    an assignee reaches only executions of these parties, where they are given.
    """

    role: str
    party: str | None
    digest: str
    by: str
    at: datetime
    name: str | None = None
    rights: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    revocation: Revocation | None = None
    customer: str | None = None
    provider: str | None = None

    @property
    def status(self) -> KeyStatus:
        """`active` or `revoked`, as the events say; whether the key is expired depends on the time."""
        return KeyStatus.ACTIVE if self.revocation is None else KeyStatus.REVOKED


class KeyCreated(Event):
    """A key was created. Its holder has the rights of its role for what belongs to its party, and also to `customer` and
    `provider`, where they are given.
    """

    type: ClassVar[str] = "key.created"
    role: str
    party: str | None = None
    name: str | None = None
    rights: tuple[str, ...] | None = None
    expires_at: Time | None = None
    digest: str
    customer: str | None = None
    provider: str | None = None

    def apply(self, state: None, recorded: Recorded) -> Key:
        return Key(
            aggregate_id(recorded.stream),
            self.role,
            self.party,
            self.digest,
            recorded.by,
            recorded.when,
            self.name,
            self.rights,
            self.expires_at,
            customer=self.customer,
            provider=self.provider,
        )


class KeyRevoked(Event):
    """The key was revoked: it is not valid any more."""

    type: ClassVar[str] = "key.revoked"

    def apply(self, state: Key, recorded: Recorded) -> Key:
        return state.evolve(revocation=Revocation(recorded.by, recorded.when))


class CreateKey(Creation[Key]):
    """Create a key, of which only the `digest` is stored.

    Raises:
        Invalid: the role needs a party, or has none; only keys of assignees have `customer` or `provider`; or the key would
            be expired already.
        UnknownReference: the customer or the provider does not exist.
    """

    wire_name: ClassVar[str] = "createKey"

    role: KeyRole
    party: Id | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{1,64}$")] | None = None
    rights: Annotated[tuple[Label, ...], Field(min_length=1, max_length=100)] | None = None
    expires_at: Time | None = None
    digest: str
    customer: Id | None = None
    provider: Id | None = None

    @property
    def _users(self) -> dict[str, str]:
        """The members that name users, with the ids of the users."""
        party = self.party if self.role in OF_USERS else None
        named = {"party": party, "customer": self.customer, "provider": self.provider}
        return {member: user for member, user in named.items() if user is not None}

    def reads(
        self, state: Key | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        return [f"user/{user}" for user in self._users.values()]

    def create(self, context: Context) -> Iterator[Event]:
        if (self.party is None) is not (self.role in OF_NOBODY):
            needed = "must be left out" if self.party else "is needed"
            raise Invalid.field("party", f"{needed} for the role `{self.role}`")
        if self.expires_at is not None and self.expires_at <= context.now:
            given = format_time(self.expires_at)
            raise Invalid.field("expiresAt", f"must be in the future, but is {given}")
        for member, user in self._users.items():
            if member != "party" and self.role != "assignee":
                raise Invalid.field(
                    member, "narrows keys of the role `assignee` alone: `party` is whose a key is"
                )
            context.require(member, "user", user)
        yield KeyCreated(
            role=self.role,
            party=self.party,
            name=self.name,
            rights=self.rights,
            expires_at=self.expires_at,
            digest=self.digest,
            customer=self.customer,
            provider=self.provider,
        )


class RevokeKey(Command[Key]):
    """Revoke a key. A repeat changes nothing.

    Raises:
        Invalid: it would be revoked before it was created.
    """

    wire_name: ClassVar[str] = "revokeKey"

    def decide(self, key: Key, context: Context) -> Iterator[Event]:
        if key.revocation is None:
            require_not_before(context, key.at, "when the key was created")
            yield KeyRevoked()


EVENTS: tuple[type[Event], ...] = (KeyCreated, KeyRevoked)
