"""Something that is stored and does not fit, from when the auditor found it until it is not there any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from domain.model import (
    Aggregate,
    Command,
    Context,
    Event,
    Recorded,
    aggregate_id,
)
from domain.recording import Recording


@dataclass(frozen=True)
class AuditFault(Aggregate):
    """In which part it is, where, and what it is; at which event, and in which member, if of one alone."""

    part: str
    place: str
    what: str
    position: int | None = None
    member: str | None = None
    gone: bool = False


class FaultFound(Event):
    """The auditor has found that something does not fit."""

    type: ClassVar[str] = "audit.fault.found"
    part: str
    place: str
    what: str
    position: int | None = None
    member: str | None = None

    def apply(self, state: AuditFault | None, recorded: Recorded) -> AuditFault:
        id_ = aggregate_id(recorded.stream)
        return AuditFault(id_, self.part, self.place, self.what, self.position, self.member)


class FaultGone(Event):
    """The auditor has looked there again, and all fits."""

    type: ClassVar[str] = "audit.fault.gone"

    def apply(self, state: AuditFault, recorded: Recorded) -> AuditFault:
        return state.evolve(gone=True)


class ReportFault(Recording[AuditFault]):
    """Record what does not fit, once. Clients cannot send it."""

    wire_name: ClassVar[str] = "reportFault"

    part: str
    place: str
    what: str
    position: int | None = None
    member: str | None = None

    def decide(self, state: AuditFault | None, context: Context) -> Iterator[Event]:
        if state is None or state.gone:
            given = {name: value for name, value in vars(self).items() if value is not None}
            yield FaultFound(**given)


class WithdrawFault(Command[AuditFault]):
    """Record that a fault is not there any more. Clients cannot send it."""

    wire_name: ClassVar[str] = "withdrawFault"

    def decide(self, state: AuditFault, context: Context) -> Iterator[Event]:
        if not state.gone:
            yield FaultGone()


EVENTS: tuple[type[Event], ...] = (FaultFound, FaultGone)
