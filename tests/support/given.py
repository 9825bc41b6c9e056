"""Given past events, when a command is sent, then these events follow: tests of aggregates without a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.errors import DomainError
from domain.model import Command, Context, Event, Recordable, Recorded, Versioned

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Given:
    """A history, a second between its events, and the context that a command may read."""

    stream: str
    now: datetime = NOON
    version: int = 0
    state: Any = None
    known: Mapping[str, Versioned[Any] | None] = field(default_factory=dict)
    importing: bool = False
    chance: float = 0.5

    def happened(
        self, *events: Event, by: str = "tester", occurred_at: datetime | None = None
    ) -> Given:
        """Add events, recorded a second apart; they occurred then, or all at `occurred_at`."""
        given = self
        for event in events:
            now = given.now + SECOND
            number = given.version + 1
            envelope = Recorded(
                self.stream, number, number, now, event, by, occurred_at=occurred_at
            )
            state = event.apply(given.state, envelope)
            given = replace(given, now=now, version=number, state=state)
        return given

    def after(self, wait: timedelta, *events: Event) -> Given:
        """Let time pass, optionally with more events."""
        return replace(self, now=self.now + wait).happened(*events)

    def knowing(self, **states: Any) -> Given:
        """Other aggregates: `order__o1=…` is the stream `order/o1`; None means that it does not exist."""
        known = {
            name.replace("__", "/").replace("_", "-"): Versioned(state, 1, 1, NOON)
            if state
            else None
            for name, state in states.items()
        }
        return replace(self, known={**self.known, **known})

    def while_importing(self) -> Given:
        return replace(self, importing=True)

    def with_chance(self, chance: float) -> Given:
        return replace(self, chance=chance)

    def when(self, command: Command[Any], by: str = "tester") -> Outcome:
        """Decide a command, now."""
        context = Context(
            self.now,
            command.occurred_at or self.now,
            by,
            lambda kind: f"{kind}_new",
            lambda: self.chance,
            self.importing,
            self.known,
            "execution/e-1",
        )
        try:
            events = tuple(command.outcome(self.state, context))
        except DomainError as error:
            return Outcome(self, (), error)
        return Outcome(self, events, None, command.occurred_at)

    @property
    def versioned(self) -> Versioned[Any]:
        return Versioned(self.state, self.version, self.version, self.now)


@dataclass(frozen=True)
class Outcome:
    """The result of a command."""

    given: Given
    events: tuple[Recordable, ...]
    error: DomainError | None
    occurred_at: datetime | None = None

    def then(self, *events: Recordable) -> Given:
        """Exactly these events follow; returns the history with its own events added."""
        if self.error is not None:
            pytest.fail(f"refused: {self.error!r} {self.error.members}")
        assert self.events == events
        own = (event for event in events if isinstance(event, Event))
        return self.given.happened(*own, occurred_at=self.occurred_at)

    def then_nothing(self) -> Given:
        return self.then()

    def refused(self, error: type[DomainError], **members: object) -> None:
        """It is refused, with at least these members."""
        assert type(self.error) is error, f"{self.error!r}, {self.events}"
        assert members.items() <= self.error.members.items(), self.error.members

    def refused_field(self, path: str) -> None:
        """It is refused because of one field."""
        if self.error is None:
            pytest.fail(f"not refused: {self.events}")
        assert [error["path"] for error in self.error.members["errors"]] == [path]


def given(*events: Event, stream: str = "execution/e-1") -> Given:
    """A history of these events."""
    return Given(stream).happened(*events)
