"""The command that forks an execution: a new one begins with the state of another at a version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, PrivateAttr

from domain.errors import Invalid
from domain.execution.events.creation import ExecutionCreated
from domain.execution.forked import (
    CarriedCheckpoint,
    CarriedStep,
    carry_checkpoints,
    carry_steps,
    plan_of,
)
from domain.execution.state import Execution
from domain.execution.types import DEFAULT_TIMEOUT, ForkedFrom, Status
from domain.json_forms import whole
from domain.model import Context, Creation, Event, Versioned
from domain.sealing import Ciphertext

NEWEST = 2**53 - 1


class ForkExecution(Creation[Execution]):
    """Create an execution that begins with the state of another one at one of its versions.

    The new execution is queued. Completed, failed and skipped steps stay as they are, all other steps are pending. It has the
    checkpoints, settings, tags and metadata of that version, but no attempts, usage, result, error or webhooks.

    Raises:
        Invalid: the content of that version was erased.
    """

    wire_name: ClassVar[str] = "fork"

    version: Annotated[int, Field(ge=1, le=NEWEST), BeforeValidator(whole)]
    _source: Execution | None = PrivateAttr(default=None)

    def of(self, source: Execution) -> Self:
        """A copy of the command with the state of the other execution at that version, its content opened."""
        command = self.model_copy()
        command._source = source  # noqa: SLF001 - its own: the copy is of this class
        return command

    def reads(
        self, state: Execution | None, states: Mapping[str, Versioned[Any] | None]
    ) -> Iterable[str]:
        return () if self._source is None else (f"execution/{self._source.id}",)

    def create(self, context: Context) -> Iterator[Event]:
        source = self._source
        assert source is not None
        steps, checkpoints = carry_steps(source), carry_checkpoints(source)
        newest = context.states.get(f"execution/{source.id}")
        erased = newest is not None and newest.state.erasure is not None
        _require_content(source, steps, checkpoints, erased=erased)
        members: dict[str, Any] = {
            "workflow": source.workflow,
            "assignee": source.assignee,
            "steps": tuple(plan_of(step) for step in source.steps.values()),
            "steps_total": source.planned_steps,
            "retry_policy": source.retry_policy,
            "tags": source.tags,
            "metadata": source.metadata,
            "carried": steps,
            "checkpoints": checkpoints,
            "heartbeat_timeout": source.heartbeat_timeout,
        }
        if source.on_lease_lost != "restart":
            members["on_lease_lost"] = source.on_lease_lost
        yield ExecutionCreated(
            order=source.order,
            service=source.service,
            customer=source.customer,
            provider=source.provider,
            priority=source.priority,
            # Only an import may have no limit.
            timeout=source.timeout or (None if context.importing else DEFAULT_TIMEOUT),
            forked_from=ForkedFrom(execution=source.id, version=self.version),
            **_progress(source),
            **{name: value for name, value in members.items() if value},
        )


def _progress(source: Execution) -> dict[str, Any]:
    """The reported progress; none of a completed execution, whose completion has set it to 100."""
    progress = source.explicit_progress
    return {} if progress is None or source.status is Status.COMPLETED else {"progress": progress}


def _require_content(
    source: Execution,
    steps: tuple[CarriedStep, ...],
    checkpoints: tuple[CarriedCheckpoint, ...],
    *,
    erased: bool,
) -> None:
    """Check that no content of the source was erased, neither before it was read nor since (`erased`). Raises Invalid."""
    content: list[Any] = [step.input for step in source.steps.values()]
    content += [checkpoint.state for checkpoint in checkpoints]
    for step in steps:
        error = step.error
        content += [step.output, step.reason, *((error.message, error.stack) if error else ())]
    if any(isinstance(part, Ciphertext) or (erased and part is not None) for part in content):
        raise Invalid.field("version", "its content was erased: there is nothing to begin with")
