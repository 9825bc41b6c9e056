"""The command that changes the settings of an execution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from domain.errors import IllegalTransition
from domain.execution.commands.create import parse_timeout
from domain.execution.commands.lifecycle import (
    CancelExecution,
    PauseExecution,
    ResumeExecution,
    RetryExecution,
    StartExecution,
)
from domain.execution.commands.progress import UpdateProgress
from domain.execution.commands.webhooks import webhooks_from
from domain.execution.events.creation import FIELDS, ExecutionUpdated
from domain.execution.retry_policy import RetryPolicy
from domain.execution.state import Execution
from domain.execution.transitions import TRANSITIONS
from domain.execution.types import (
    DEFAULT_TIMEOUT,
    Metadata,
    OnLeaseLost,
    Silence,
    Status,
    Tags,
    TimeoutPlan,
    merge_patch,
)
from domain.execution.webhook import Webhooks
from domain.json_equality import same_json
from domain.model import Command, Context, Event, Recorded
from domain.types import Assignee, Percent, Priority

ALWAYS = frozenset({"tags", "metadata"})
"""The settings that can be changed in every status."""
PLAIN = ("assignee", "retry_policy", "heartbeat_timeout")
"""The settings whose new value is the value in the command."""


class UpdateExecution(Command[Execution]):
    """Change settings. Absent members stay, `null` clears a member, `metadata` is merged (RFC 7396).

    A `status` is applied first: it has the effect of the command that leads to that status.
    """

    wire_name: ClassVar[str] = "update"
    null_clears: ClassVar[frozenset[str]] = frozenset(
        {
            "assignee",
            "priority",
            "timeout",
            "retry_policy",
            "webhooks",
            "tags",
            "metadata",
            "heartbeat_timeout",
            "on_lease_lost",
            "progress",
        }
    )
    """The fields in which null differs from absence: it clears them."""

    assignee: Assignee | None = None
    priority: Priority | None = None
    timeout: TimeoutPlan | None = None
    retry_policy: RetryPolicy | None = None
    webhooks: Webhooks | None = None
    tags: Tags | None = None
    metadata: Metadata | None = None
    heartbeat_timeout: Silence | None = None
    on_lease_lost: OnLeaseLost | None = None
    progress: Percent | None = None
    status: Status = Field(default=Status.QUEUED)

    def decide(self, execution: Execution, context: Context) -> Iterator[Event]:
        for event in self._status_events(execution, context):
            yield event
            execution = _apply(execution, event, context)
        changes = self._changes(execution, context)
        if TRANSITIONS["configure"][execution.status] == ".":
            _require_configurable(changes.keys() <= ALWAYS, execution)
        if changes:
            yield ExecutionUpdated(**changes)
        if self.progress is not None:
            yield from UpdateProgress(progress=self.progress).decide(execution, context)

    def _status_events(self, execution: Execution, context: Context) -> list[Any]:
        if "status" not in self.model_fields_set or self.status is execution.status:
            return []
        match self.status, execution.status:
            case Status.RUNNING, Status.PAUSED:
                command: Command[Execution] = ResumeExecution()
            case Status.RUNNING, _:
                command = StartExecution()
            case Status.PAUSED, _:
                command = PauseExecution()
            case Status.CANCELLED, _:
                command = CancelExecution()
            case Status.RETRY, _:
                command = RetryExecution()
            case (
                _
            ):  # completing and failing need more members, and other statuses are set by the server
                raise _refusal(
                    execution, f"`update` cannot lead from {execution.status} to {self.status}."
                )
        return command.outcome(execution, context)

    def _changes(self, execution: Execution, context: Context) -> dict[str, Any]:
        given = self.model_fields_set
        wanted: dict[str, Any] = {name: getattr(self, name) for name in PLAIN if name in given}
        if "timeout" in given:
            timeout = DEFAULT_TIMEOUT if self.timeout is None else self.timeout
            wanted["timeout"] = parse_timeout(timeout, context)
        if "priority" in given:
            wanted["priority"] = self.priority or Priority.NORMAL
        if "on_lease_lost" in given:
            wanted["on_lease_lost"] = self.on_lease_lost or "restart"
        if "tags" in given:
            wanted["tags"] = self.tags or ()
        if "metadata" in given:
            patch = self.metadata
            wanted["metadata"] = {} if patch is None else merge_patch(execution.metadata, patch)
        if "webhooks" in given:
            wanted["webhooks"] = webhooks_from(
                self.webhooks or (), execution.webhooks, context.new_id
            )
        if "progress" in given and self.progress is None:
            wanted["progress"] = None
        return {
            name: value
            for name, value in wanted.items()
            if not same_json(value, getattr(execution, FIELDS.get(name, name)))
        }


def _require_configurable(allowed: bool, execution: Execution) -> None:
    if not allowed:
        raise _refusal(
            execution,
            f"The execution is {execution.status}: of its settings only tags and metadata change.",
        )


def _refusal(execution: Execution, detail: str) -> IllegalTransition:
    """The error for an `update` that is not possible; its `allowedCommands` lack `update`."""
    members = execution.refusal(UpdateExecution.wire_name).members
    allowed = [word for word in members["allowedCommands"] if word != UpdateExecution.wire_name]
    return IllegalTransition(detail, **{**members, "allowedCommands": allowed})


def _apply(execution: Execution, event: Event, context: Context) -> Execution:
    """The state after an event, on which the rest of the same command is decided."""
    envelope = Recorded("", 0, 0, context.now, event, context.by, occurred_at=context.when)
    state: Execution = event.apply(execution, envelope)
    return state
