"""Executions whose only events are their progress."""

from __future__ import annotations

from domain.execution.events.progress import ProgressUpdated
from domain.model import Event
from tests.support.event_writer import Happening


def happened(*events: Event, execution: str = "e-0") -> list[Happening]:
    return [Happening(execution, event) for event in events]


def progressed(*values: float, execution: str = "e-0") -> list[Happening]:
    return happened(*(ProgressUpdated(progress=value) for value in values), execution=execution)
