"""A session of a browser: its name, roles and parties, until it ends or expires. The cookie itself is not stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from domain.json_forms import Time
from domain.model import Aggregate, Command, Context, Creation, Event, Recorded, aggregate_id


@dataclass(frozen=True)
class Session(Aggregate):
    """A session.

    `digest`: an HMAC of its cookie; `credential`: the credential with which it was started; `rights`: which rights of its
    roles it has, None for all.
    """

    digest: str
    name: str
    roles: tuple[str, ...]
    customer: str | None
    provider: str | None
    subject: str | None
    rights: tuple[str, ...] | None
    credential: str
    expires_at: datetime
    ended: bool = False


class SessionStarted(Event):
    """A session was started: somebody has signed in with a browser."""

    type: ClassVar[str] = "session.started"
    digest: str
    name: str
    roles: tuple[str, ...]
    customer: str | None = None
    provider: str | None = None
    subject: str | None = None
    rights: tuple[str, ...] | None = None
    credential: str
    expires_at: Time

    def apply(self, state: None, recorded: Recorded) -> Session:
        return Session(
            aggregate_id(recorded.stream),
            self.digest,
            self.name,
            self.roles,
            self.customer,
            self.provider,
            self.subject,
            self.rights,
            self.credential,
            self.expires_at,
        )


class SessionEnded(Event):
    """The session was ended: somebody has signed out."""

    type: ClassVar[str] = "session.ended"

    def apply(self, state: Session, recorded: Recorded) -> Session:
        return state.evolve(ended=True)


class StartSession(Creation[Session]):
    """Start a session. The id of an earlier session cannot be used again."""

    wire_name: ClassVar[str] = "startSession"

    digest: str
    name: str
    roles: tuple[str, ...]
    customer: str | None = None
    provider: str | None = None
    subject: str | None = None
    rights: tuple[str, ...] | None = None
    credential: str
    expires_at: Time

    def create(self, context: Context) -> Iterator[Event]:
        members = {name: getattr(self, name) for name in SessionStarted.model_fields}
        yield SessionStarted(**members)


class EndSession(Command[Session]):
    """End a session. A repeat changes nothing."""

    wire_name: ClassVar[str] = "endSession"

    def decide(self, session: Session, context: Context) -> Iterator[Event]:
        if not session.ended:
            yield SessionEnded()


EVENTS: tuple[type[Event], ...] = (SessionStarted, SessionEnded)
