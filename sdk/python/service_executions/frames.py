"""The items of streams: flat frames for watchers, and events of the log."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from pydantic import Field, model_validator

from service_executions.model import Model
from service_executions.models import (
    ExecutionError,
    ExecutionResult,
    ExecutionStep,
    Status,
)


class Frame(Model):
    """A frame: something that happened to an execution. `type` is `progress`, `status_changed`, `completed`, `failed`,
    `step.started`, `log` or another type; the members that the type does not have are None.
    """

    type: str
    execution: str
    position: int = 0
    time: datetime | None = None
    more: bool = False
    """Whether another frame of the same event follows."""
    progress: float | None = None
    status: Status | None = None
    final: bool | None = None
    result: ExecutionResult | None = None
    error: ExecutionError | None = None
    step: ExecutionStep | None = None
    step_id: str | None = None
    """The id of the step to which a log line belongs."""
    level: str | None = None
    message: str | None = None
    timestamp: datetime | None = None
    context: dict[str, Any] | None = None
    reason: str | None = None
    worker: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_step_of_line(cls, frame: Any) -> Any:
        if isinstance(frame, dict):
            members = cast("dict[str, Any]", frame)
            if isinstance(step := members.get("step"), str):
                return {**members, "step": None, "step_id": step}
        return cast("Any", frame)


class Event(Model):
    """An event of the log, in the envelope of CloudEvents."""

    id: str
    type: str
    source: str
    subject: str
    time: datetime
    position: int
    version: int
    actor: str | None = None
    correlation_id: str | None = Field(default=None, alias="correlationid")
    causation_id: str | None = Field(default=None, alias="causationid")
    data: dict[str, Any] | None = None


class CellEvent(Event):
    """An event of one of several logs; `cell` is the name of the log."""

    cell: str


class CellFrame(Frame):
    """A frame of one of several logs; `cell` is the name of the log."""

    cell: str
