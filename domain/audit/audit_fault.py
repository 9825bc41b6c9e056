"""A fault in stored data, from when the auditor has found it until it has gone."""

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
    """A fault: its part, place and text, and, if it concerns one event or one member, the position and the member."""

    part: str
    place: str
    what: str
    position: int | None = None
    member: str | None = None
    gone: bool = False


class FaultFound(Event):
    """The auditor has found a fault."""

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
    """The auditor has checked the place of a fault again, and the fault has gone."""

    type: ClassVar[str] = "audit.fault.gone"

    def apply(self, state: AuditFault, recorded: Recorded) -> AuditFault:
        return state.evolve(gone=True)


class ReportFault(Recording[AuditFault]):
    """Report a fault, once. Only the server sends this."""

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
    """Report that a fault has gone. Only the server sends this."""

    wire_name: ClassVar[str] = "withdrawFault"

    def decide(self, state: AuditFault, context: Context) -> Iterator[Event]:
        if not state.gone:
            yield FaultGone()


EVENTS: tuple[type[Event], ...] = (FaultFound, FaultGone)
