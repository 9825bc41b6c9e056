"""A grant: an auditor may read some executions, for a purpose, until a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field

from domain.access.revocation import Revocation
from domain.errors import DomainError, Invalid
from domain.json_forms import Time, format_time
from domain.model import (
    Aggregate,
    Command,
    Context,
    Creation,
    Event,
    Recorded,
    Value,
    Versioned,
    aggregate_id,
)
from domain.types import JsonObject, Label, Reference

Purpose = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00]*$")]
Executions = Annotated[tuple[Reference, ...], Field(min_length=1, max_length=1_000)]
NAMED = {"order": "order", "service": "service"}
"""What a grant may be of besides single executions and a filter, and the kind of stream that each names."""
ALTERNATIVES = ("executions", *NAMED, "filter")
MOST_OPEN = 1_000
"""Grants that one party may have open: each is looked at with every read of its auditor."""


class TooManyGrants(DomainError):
    """The party has as many open grants as it may have; `limit` says how many."""

    code = "too-many-grants"


@dataclass(frozen=True)
class Grant(Aggregate):
    """It is of some executions, or of all of an order, of a service, or that meet a filter.

    `within` is a filter, too: what the granter reached. Nothing outside of it is granted.
    """

    auditor: str
    purpose: str
    by: str
    at: datetime
    expires_at: datetime
    executions: tuple[str, ...] = ()
    order: str | None = None
    service: str | None = None
    filter: dict[str, Any] | None = None
    within: dict[str, Any] | None = None
    customer: str | None = None
    provider: str | None = None
    revocation: Revocation | None = None

    @property
    def parties(self) -> tuple[str | None, str | None]:
        """The customer or the provider whose grant it is; neither, where the administrator made it."""
        return self.customer, self.provider

    def is_live(self, now: datetime) -> bool:
        """Whether its auditor may read by it."""
        return self.revocation is None and now < self.expires_at


class GrantCreated(Event):
    """From here on an auditor may read some executions."""

    type: ClassVar[str] = "grant.created"
    auditor: str
    executions: tuple[str, ...] = ()
    order: str | None = None
    service: str | None = None
    filter: dict[str, Any] | None = None
    within: dict[str, Any] | None = None
    customer: str | None = None
    provider: str | None = None
    purpose: str
    expires_at: Time

    @property
    def parties(self) -> tuple[str | None, str | None]:
        return self.customer, self.provider

    def apply(self, state: None, recorded: Recorded) -> Grant:
        return Grant(
            aggregate_id(recorded.stream),
            self.auditor,
            self.purpose,
            recorded.by,
            recorded.at,
            self.expires_at,
            self.executions,
            self.order,
            self.service,
            self.filter,
            self.within,
            self.customer,
            self.provider,
        )


class GrantRevoked(Event):
    """Its auditor may not read by it any more."""

    type: ClassVar[str] = "grant.revoked"

    def apply(self, state: Grant, recorded: Recorded) -> Grant:
        return state.evolve(revocation=Revocation(recorded.by, recorded.at))


class GrantRequest(Value):
    """Let an auditor read some executions, or those of an order, of a service, or that meet a filter."""

    auditor: Label
    executions: Executions | None = None
    order: Reference | None = None
    service: Reference | None = None
    filter: JsonObject | None = None
    purpose: Purpose
    expires_at: Time


class CreateGrant(GrantRequest, Creation[Grant]):
    """A request with what its maker reaches, of which no more is granted, and how many grants its maker has
    open. Clients cannot send it.

    Raises:
        Invalid: it is of nothing, or of more than one thing, or is over already.
        TooManyGrants: its maker has as many open as it may have.
        UnknownReference: what it is of does not exist for its maker.
    """

    wire_name: ClassVar[str] = "createGrant"

    within: JsonObject | None = None
    customer: str | None = None
    provider: str | None = None
    open_before: int = 0

    def reads(
        self, state: Grant | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        return [f"{kind}/{identity}" for _, kind, identity in self._named_things()]

    def create(self, context: Context) -> Iterator[Event]:
        given = [name for name in ALTERNATIVES if getattr(self, name) is not None]
        if len(given) != 1:
            words = ", ".join(f"`{name}`" for name in ALTERNATIVES)
            raise Invalid.field("", f"must name one alone of {words}")
        if self.expires_at <= context.now:
            now = format_time(context.now)
            raise Invalid.field("expiresAt", f"must lie in the future, after {now}")
        for field, kind, identity in self._named_things():
            context.require(field, kind, identity)
        if self.open_before >= MOST_OPEN:
            raise TooManyGrants(limit=MOST_OPEN)
        members = self.model_dump(exclude_none=True, exclude={"occurred_at", "open_before"})
        yield GrantCreated.model_validate(members)

    def _named_things(self) -> Iterator[tuple[str, str, str]]:
        """Field, kind and id of each thing that it names."""
        for identity in self.executions or ():
            yield "executions", "execution", identity
        for field, kind in NAMED.items():
            if identity := getattr(self, field):
                yield field, kind, identity


class RevokeGrant(Command[Grant]):
    """Take a grant back; at once, and for streams that are open, too."""

    wire_name: ClassVar[str] = "revokeGrant"

    def decide(self, grant: Grant, context: Context) -> Iterator[Event]:
        if grant.revocation is None:
            yield GrantRevoked()


EVENTS: tuple[type[Event], ...] = (GrantCreated, GrantRevoked)
COMMANDS: dict[str, type[Command[Grant]]] = {
    command.wire_name: command for command in (CreateGrant, RevokeGrant)
}
