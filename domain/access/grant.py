"""A grant: an auditor may read some executions, for a purpose, until a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field

from domain.access.revocation import Revocation
from domain.errors import DomainError, Invalid
from domain.execution.order_in_time import require_not_before
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
"""The members of a grant that name one aggregate, and the kind of its stream."""
ALTERNATIVES = ("executions", *NAMED, "filter")
"""The members of which a grant must have exactly one."""
MOST_OPEN = 1_000
"""Open grants of one party at most, as every read of an auditor evaluates all of its grants."""


class TooManyGrants(DomainError):
    """The party has as many open grants as it may have; `limit` says how many."""

    code = "too-many-grants"


@dataclass(frozen=True)
class Grant(Aggregate):
    """A grant for some executions, or for all of an order, of a service, or that meet a filter.

    `within`: a filter of what its maker could see; the auditor can see nothing outside of it.
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
        """The customer or the provider that made the grant; neither, if the administrator did."""
        return self.customer, self.provider

    def is_live(self, now: datetime) -> bool:
        """Whether the grant is neither revoked nor expired at a time."""
        return self.revocation is None and now < self.expires_at


class GrantCreated(Event):
    """An auditor may read some executions from now on."""

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
    """The grant was revoked: its auditor may not read by it any more."""

    type: ClassVar[str] = "grant.revoked"

    def apply(self, state: Grant, recorded: Recorded) -> Grant:
        return state.evolve(revocation=Revocation(recorded.by, recorded.at))


class GrantRequest(Value):
    """Let an auditor read some executions, or all of an order, of a service, or that meet a filter."""

    auditor: Label
    executions: Executions | None = None
    order: Reference | None = None
    service: Reference | None = None
    filter: JsonObject | None = None
    purpose: Purpose
    expires_at: Time


class CreateGrant(GrantRequest, Creation[Grant]):
    """Create a grant from a request. Only the server sends this.

    `within`: a filter of what its maker can see; `open_before`: the number of open grants of its maker.

    Raises:
        Invalid: it names nothing, or more than one of the alternatives, or `expiresAt` is not in the future.
        TooManyGrants: its maker has the largest number of open grants.
        UnknownReference: what it names does not exist for its maker.
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
        """The field, kind and id of each aggregate that the grant names."""
        for identity in self.executions or ():
            yield "executions", "execution", identity
        for field, kind in NAMED.items():
            if identity := getattr(self, field):
                yield field, kind, identity


class RevokeGrant(Command[Grant]):
    """Revoke a grant. This takes effect at once, and also ends open streams.

    Raises:
        Invalid: it would be revoked before it was created.
    """

    wire_name: ClassVar[str] = "revokeGrant"

    def decide(self, grant: Grant, context: Context) -> Iterator[Event]:
        if grant.revocation is None:
            require_not_before(context, grant.at, "when the grant was created")
            yield GrantRevoked()


EVENTS: tuple[type[Event], ...] = (GrantCreated, GrantRevoked)
COMMANDS: dict[str, type[Command[Grant]]] = {
    command.wire_name: command for command in (CreateGrant, RevokeGrant)
}
