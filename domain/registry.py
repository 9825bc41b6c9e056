"""The tables of the write side: all states, all events and all commands of clients."""

from __future__ import annotations

from functools import cache
from typing import Any

from domain.access import anchors, grant, key, retirements, session
from domain.audit import audit_fault
from domain.catalog import order, service, user, webhook, webhook_commands, workflow
from domain.catalog.confirm_order import ConfirmOrder
from domain.eventlog.codec import Codec
from domain.execution import commands, events
from domain.execution.state import Execution
from domain.jobs import job
from domain.model import Aggregate, Command, Event
from domain.retention import archived_day, archived_range, hold

STATES: dict[str, type[Aggregate]] = {
    "execution": Execution,
    "service": service.Service,
    "workflow": workflow.Workflow,
    "order": order.Order,
    "user": user.User,
    "job": job.Job,
    "hold": hold.Hold,
    "grant": grant.Grant,
    "anchor": anchors.AccessAnchors,
    "retirement": retirements.AccessRetirements,
    "archive": archived_day.ArchivedDay,
    "range": archived_range.ArchivedRange,
    "webhook": webhook.Hook,
    "key": key.Key,
    "fault": audit_fault.AuditFault,
    "session": session.Session,
}
"""The classes of states by the kind of stream, which is the part of its name before the slash."""
EVENTS: tuple[type[Event], ...] = (
    *events.EVENTS,
    *service.EVENTS,
    *workflow.EVENTS,
    *order.EVENTS,
    *user.EVENTS,
    *job.EVENTS,
    *hold.EVENTS,
    *archived_day.EVENTS,
    *archived_range.EVENTS,
    *audit_fault.EVENTS,
    *webhook.EVENTS,
    *grant.EVENTS,
    *key.EVENTS,
    *anchors.EVENTS,
    *retirements.EVENTS,
    *session.EVENTS,
)
COMMANDS: dict[str, dict[str, type[Command[Any]]]] = {
    "execution": {**commands.COMMANDS},
    "service": {**service.COMMANDS},
    "workflow": {**workflow.COMMANDS},
    "order": {**order.COMMANDS, ConfirmOrder.wire_name: ConfirmOrder},
    "user": {**user.COMMANDS},
    "job": {**job.COMMANDS},
    "hold": {**hold.COMMANDS},
    "webhook": {**webhook_commands.COMMANDS},
    "grant": {**grant.COMMANDS},
}
"""The commands that clients may send, by kind of stream and by wire name."""


@cache
def codec() -> Codec:
    """The codec of all events and states. It is made once, in 30 ms, and shared, as it never changes."""
    return Codec(EVENTS, STATES)
