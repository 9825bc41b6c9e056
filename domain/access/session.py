"""A session of a browser: whose it is, until it ends or expires. The cookie itself is not kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from domain.json_forms import Time
from domain.model import Aggregate, Command, Context, Creation, Event, Recorded, aggregate_id


@dataclass(frozen=True)
class Session(Aggregate):
    """One session. `digest` is an HMAC of its cookie, `credential` what it began with; `rights` narrow those
    of its roles, None leaves them all.
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
    """Somebody came in by a browser."""

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
    """They left."""

    type: ClassVar[str] = "session.ended"

    def apply(self, state: Session, recorded: Recorded) -> Session:
        return state.evolve(ended=True)


class StartSession(Creation[Session]):
    """Let a browser in as somebody. A session that there was is none that could be made again."""

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
    """Let it in no more. To do it again changes nothing."""

    wire_name: ClassVar[str] = "endSession"

    def decide(self, session: Session, context: Context) -> Iterator[Event]:
        if not session.ended:
            yield SessionEnded()


EVENTS: tuple[type[Event], ...] = (SessionStarted, SessionEnded)
