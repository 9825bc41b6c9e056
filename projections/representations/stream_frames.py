"""The frames of streams as models, for those who describe or check them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from domain.execution.types import LogLevel, Status
from domain.json_forms import Count, Time
from domain.model import Value
from domain.types import JsonObject, Percent
from projections.representations.execution_schema import (
    ServiceExecution,
    Shown,
    ShownError,
    ShownResult,
    ShownStep,
)

Position = Annotated[int, Field(ge=0)]


class WatchFrame(Shown):
    """What all frames of watchers have. `more`: another frame of the same event follows.

    `unreadable`: what is sealed in it cannot be opened, as its key or its ciphertext is damaged.
    """

    execution: str
    position: Position
    time: Time
    more: Literal[True] | None = None
    state: ServiceExecution | None = None
    unreadable: Literal[True] | None = None

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """Its values of `type`."""
        return get_args(cls.model_fields["type"].annotation)


class Progress(WatchFrame):
    """How far it has come."""

    type: Literal["progress"]
    progress: Percent


class StatusChanged(WatchFrame):
    """It has another status; `final` is false with a failure that will be retried."""

    type: Literal["status_changed"]
    status: Status
    final: Literal[False] | None = None


class Completed(WatchFrame):
    """It has ended, with a result; null once that was erased."""

    type: Literal["completed"]
    result: ShownResult | None


class Failed(WatchFrame):
    """It has failed for good."""

    type: Literal["failed"]
    error: ShownError


class Cancelled(WatchFrame):
    """Somebody ended it."""

    type: Literal["cancelled"]
    reason: str | None
    by: str


class Paused(WatchFrame):
    """It rests, at a checkpoint."""

    type: Literal["paused"]
    checkpoint: str
    reason: str | None


class Resumed(WatchFrame):
    """It goes on from a checkpoint."""

    type: Literal["resumed"]
    checkpoint: str


class Retry(WatchFrame):
    """It has failed and will be tried again; `delay` in milliseconds."""

    type: Literal["retry"]
    retry: Count
    max_retries: Count | None = None
    delay: Count
    next_retry_at: Time


class Claimed(WatchFrame):
    """A worker took it."""

    type: Literal["claimed"]
    worker: str


class Released(WatchFrame):
    """It is queued again, and its worker holds it no longer."""

    type: Literal["released"]
    worker: str
    reason: Literal["lease-lost", "retry"]


class Stalled(WatchFrame):
    """It runs, but gave no sign of life since a time, for longer than its `heartbeatTimeout`."""

    type: Literal["stalled"]
    since: Time


class Recovered(WatchFrame):
    """A heartbeat came of one that was stalled. Another sign of life brings a frame of its own, or none."""

    type: Literal["recovered"]


class StepFrame(WatchFrame):
    """Something happened to a step."""

    type: Literal["step.started", "step.completed", "step.failed", "step.skipped"]
    step: ShownStep


class Log(Shown):
    """A line of its log, live, for those who ask for `log`; it has no position and moves no cursor."""

    type: Literal["log"]
    execution: str
    timestamp: Time
    recorded_at: Time
    level: LogLevel
    message: str | None
    step: str | None = None
    context: JsonObject | None = None
    erased: Literal[True] | None = None
    unreadable: Literal[True] | None = None


class Envelope(Shown):
    """An event as CloudEvents 1.0; extension attributes beside these.

    `state`, with `include=execution` only, is the execution after its event, and no attribute.
    `unreadable`: the event cannot be opened, as its key or its ciphertext is damaged; `data` is null.
    """

    specversion: Literal["1.0"]
    id: str
    type: str
    source: str
    subject: str
    time: Time
    datacontenttype: Literal["application/json"]
    position: Position
    version: Position
    actor: str
    occurredat: Time | None = None
    correlationid: str | None = None
    causationid: str | None = None
    data: dict[str, Any] | None
    state: ServiceExecution | None = None
    unreadable: Literal[True] | None = None


class ControlFrame(Value):
    """About the stream itself. As a server-sent event its `type` stands in `event:` only."""

    position: Position

    @classmethod
    def kind(cls) -> str:
        """Its value of `type`."""
        kind: str = cls.model_fields["type"].default
        return kind


class Checkpoint(ControlFrame):
    """Nothing matched up to here: keep this cursor."""

    type: Literal["checkpoint"] = "checkpoint"


class CaughtUp(ControlFrame):
    """The past is done; what follows happens now. Keep the id of the log with your cursor."""

    type: Literal["caught-up"] = "caught-up"
    log: str


class FellBehind(ControlFrame):
    """You read too slowly, and get events from the store until you are caught up; no log lines."""

    type: Literal["fell-behind"] = "fell-behind"


class Closing(ControlFrame):
    """The server ends; come back after so many milliseconds."""

    type: Literal["closing"] = "closing"
    retry: Count


class Pause(Value):
    """Wait, or go on."""

    pause: bool


class Seek(Value):
    """Go on from another position."""

    seek: Position


class Speed(Value):
    """Replay the past so many times faster; 0 is as fast as can be."""

    speed: Annotated[float, Field(ge=0, le=1_000_000)]


CONTROLS: tuple[type[ControlFrame], ...] = (Checkpoint, CaughtUp, FellBehind, Closing)
FRAMES = (
    Progress,
    StatusChanged,
    Completed,
    Failed,
    Cancelled,
    Paused,
    Resumed,
    Retry,
    Claimed,
    Released,
    Stalled,
    Recovered,
    StepFrame,
)
WORDS = (Pause, Seek, Speed)
