"""An API key: whose it is and what it may do, until it is revoked or expires. The key itself is not kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from domain.access.revocation import Revocation
from domain.errors import Invalid
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
"""Roles that are nobody's in particular: their keys have no party."""
OF_USERS = frozenset({"customer", "provider"})
"""Roles whose party is a user that exists."""


class KeyStatus(StrEnum):
    """Whether a key opens anything. `expired` follows from the time: no event says so."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Key(Aggregate):
    """One key. `digest` is an HMAC of its text; `rights` narrow those of its role, None leaves them all. What an
    assignee reaches `customer` and `provider` narrow, where they are given.
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
        """Whether it was revoked."""
        return KeyStatus.ACTIVE if self.revocation is None else KeyStatus.REVOKED


class KeyCreated(Event):
    """The holder of the key may do what its role may with what is its party's, and that of `customer` and `provider`
    as well, where they are named.
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
    """It opens nothing any more."""

    type: ClassVar[str] = "key.revoked"

    def apply(self, state: Key, recorded: Recorded) -> Key:
        return state.evolve(revocation=Revocation(recorded.by, recorded.when))


class CreateKey(Creation[Key]):
    """Let somebody in, by a key of which only the `digest` is kept.

    Raises:
        Invalid: the role needs a party or has none, is not narrowed by others, or the key would have expired already.
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
        """The members that name users, with whom."""
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
    """Lock out the holder of the key. To do it again changes nothing."""

    wire_name: ClassVar[str] = "revokeKey"

    def decide(self, key: Key, context: Context) -> Iterator[Event]:
        if key.revocation is None:
            yield KeyRevoked()


EVENTS: tuple[type[Event], ...] = (KeyCreated, KeyRevoked)
