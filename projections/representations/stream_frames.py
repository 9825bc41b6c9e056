"""The frames of streams as models, from which the documents of the API are made and by which tests check frames."""

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
    """The members of all frames for watchers. `more`: another frame of the same event follows.

    `unreadable`: sealed content of the frame cannot be opened, because its key or its ciphertext is damaged.
    """

    execution: str
    position: Position
    time: Time
    more: Literal[True] | None = None
    state: ServiceExecution | None = None
    unreadable: Literal[True] | None = None

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """Return the values that `type` may have."""
        return get_args(cls.model_fields["type"].annotation)


class Progress(WatchFrame):
    """The progress of the execution has changed."""

    type: Literal["progress"]
    progress: Percent


class StatusChanged(WatchFrame):
    """The status of the execution has changed; `final` is false with a failure that will be retried."""

    type: Literal["status_changed"]
    status: Status
    final: Literal[False] | None = None


class Completed(WatchFrame):
    """The execution has completed with a result; null once the result was erased."""

    type: Literal["completed"]
    result: ShownResult | None


class Failed(WatchFrame):
    """The execution has failed and will not be retried."""

    type: Literal["failed"]
    error: ShownError


class Cancelled(WatchFrame):
    """The execution was cancelled."""

    type: Literal["cancelled"]
    reason: str | None
    by: str


class Paused(WatchFrame):
    """The execution was paused at a checkpoint."""

    type: Literal["paused"]
    checkpoint: str
    reason: str | None


class Resumed(WatchFrame):
    """The execution was resumed from a checkpoint."""

    type: Literal["resumed"]
    checkpoint: str


class Retry(WatchFrame):
    """The execution has failed and will be retried after `delay` milliseconds."""

    type: Literal["retry"]
    retry: Count
    max_retries: Count | None = None
    delay: Count
    next_retry_at: Time


class Claimed(WatchFrame):
    """A worker has claimed the execution."""

    type: Literal["claimed"]
    worker: str


class Released(WatchFrame):
    """The execution is queued again, and no longer claimed by its worker."""

    type: Literal["released"]
    worker: str
    reason: Literal["lease-lost", "retry"]


class Stalled(WatchFrame):
    """The execution runs, but has given no sign of life since a time, for longer than its `heartbeatTimeout`."""

    type: Literal["stalled"]
    since: Time


class Recovered(WatchFrame):
    """A stalled execution has sent a heartbeat. Other signs of life have frames of their own, or none."""

    type: Literal["recovered"]


class StepFrame(WatchFrame):
    """A step was started, completed, failed or skipped."""

    type: Literal["step.started", "step.completed", "step.failed", "step.skipped"]
    step: ShownStep


class Log(Shown):
    """A live line of the execution's log, for clients that ask for `log`. It has no position and moves no cursor."""

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
    """An event as CloudEvents 1.0, with extension attributes.

    `state`, only with `include=execution`, is the execution after the event; it is not a CloudEvents attribute.
    `unreadable`: the event cannot be opened, because its key or its ciphertext is damaged; `data` is null.
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
    """A frame about the stream itself. As a server-sent event it has its `type` only in `event:`."""

    position: Position

    @classmethod
    def kind(cls) -> str:
        """Return the value of `type`."""
        kind: str = cls.model_fields["type"].default
        return kind


class Checkpoint(ControlFrame):
    """No event up to this position matched the filter: store this cursor."""

    type: Literal["checkpoint"] = "checkpoint"


class CaughtUp(ControlFrame):
    """All past events were sent; the following ones are live. Store the id of the log with your cursor."""

    type: Literal["caught-up"] = "caught-up"
    log: str


class FellBehind(ControlFrame):
    """You read too slowly: until you have caught up, you get events from the store, and no log lines."""

    type: Literal["fell-behind"] = "fell-behind"


class Closing(ControlFrame):
    """The server is stopping: reconnect after `retry` milliseconds."""

    type: Literal["closing"] = "closing"
    retry: Count


class Pause(Value):
    """Pause the stream, or continue it."""

    pause: bool


class Seek(Value):
    """Continue from another position."""

    seek: Position


class Speed(Value):
    """Replay the past `speed` times faster than it happened; 0 is as fast as possible."""

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
