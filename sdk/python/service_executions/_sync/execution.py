"""Made by scripts/sdk of the file of this name in `_async`: do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Self, Unpack

from service_executions._sync.commands import Commands, create
from service_executions._sync.reads import Reads
from service_executions._sync.transport import Transport
from service_executions.ids import new_id
from service_executions.models import ServiceExecution
from service_executions.requests import (
    CANCEL,
    CHECKPOINT,
    COMPLETE,
    DECLARE_STEPS,
    FAIL,
    FAIL_RECOVERABLY,
    HEARTBEAT,
    LOG,
    PAUSE,
    PROGRESS,
    RESUME,
    RETRY,
    START,
    USAGE,
    Command,
    CommandOptions,
    of_step,
    option_headers,
    post,
    segment,
    with_time,
)
from service_executions.values import (
    JSON,
    Assignee,
    Result,
    Retry,
    Step,
    Usage,
    Webhook,
    body,
    camel,
    wire,
)

Who = Assignee | Mapping[str, Any]


class Execution(Reads):
    """An execution. Every command returns this same object, with the document after the command."""

    def __init__(
        self, transport: Transport, id: str, document: ServiceExecution | None = None
    ) -> None:
        super().__init__(transport, id, document)
        self._commands = Commands(transport)

    def _command(self, command: Command, members: JSON, options: CommandOptions) -> Self:
        answer = self._commands.send(self.id, command, members, options)
        self._document = ServiceExecution.model_validate_json(answer)
        return self

    def start(self, **options: Unpack[CommandOptions]) -> Self:
        """Start the execution: `queued` → `running`."""
        return self._command(START, {}, options)

    def pause(
        self,
        reason: str | None = None,
        *,
        state: JSON | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """Pause the execution with a checkpoint: `running` → `paused`."""
        return self._command(PAUSE, body(reason=reason, state=state), options)

    def resume(self, checkpoint: str | None = None, **options: Unpack[CommandOptions]) -> Self:
        """Resume the execution from a checkpoint, by default the last one: `paused` → `running`."""
        return self._command(RESUME, body(checkpoint_id=checkpoint), options)

    def complete(
        self,
        result: Result | Mapping[str, Any] | None = None,
        *,
        usage: Usage | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """Complete the execution with a result."""
        given = wire(result if result is not None else Result())
        return self._command(COMPLETE, {**given, **body(usage=usage)}, options)

    def fail(
        self,
        code: str,
        message: str,
        *,
        step: str | None = None,
        recoverable: bool = False,
        stack: str | None = None,
        retry_count: int | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """End the attempt with an error. After a recoverable error the execution is retried by its retry policy."""
        error = body(
            code=code,
            message=message,
            step=step,
            recoverable=recoverable,
            stack=stack,
            retry_count=retry_count,
        )
        return self._command(FAIL_RECOVERABLY if recoverable else FAIL, error, options)

    def retry(self, **options: Unpack[CommandOptions]) -> Self:
        """Retry a failed execution, or begin the next attempt without waiting for its time."""
        return self._command(RETRY, {}, options)

    def cancel(self, reason: str | None = None, **options: Unpack[CommandOptions]) -> Self:
        """Cancel the execution."""
        return self._command(CANCEL, body(reason=reason), options)

    def update_progress(self, progress: float, **options: Unpack[CommandOptions]) -> Self:
        """Report the progress of the execution, from 0 to 100."""
        return self._command(PROGRESS, {"progress": progress}, options)

    def update(
        self,
        *,
        assignee: Who | None = None,
        priority: str | None = None,
        timeout: int | timedelta | None = None,
        retry_policy: Retry | Mapping[str, Any] | None = None,
        webhooks: Sequence[Webhook | Mapping[str, Any]] | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        clear: Sequence[str] = (),
        **options: Unpack[CommandOptions],
    ) -> Self:
        """Change members of the execution. Members that are not given stay; those named in `clear` are removed."""
        changes = body(
            assignee=assignee,
            priority=priority,
            timeout=timeout,
            retry_policy=retry_policy,
            webhooks=webhooks,
            tags=tags,
            metadata=metadata,
        )
        members = with_time({**changes, **dict.fromkeys(map(camel, clear))}, options)
        request = post(self._path, members, option_headers(options))
        answer = self._transport.send(request.with_method("PATCH"))
        self._document = ServiceExecution.model_validate_json(answer.content)
        return self

    def log(
        self,
        message: str,
        level: str = "info",
        *,
        step: str | None = None,
        context: Mapping[str, Any] | None = None,
        at: datetime | None = None,
        **options: Unpack[CommandOptions],
    ) -> None:
        """Add a line to the execution's log."""
        line = body(level=level, message=message, step=step, context=context, timestamp=at)
        self._commands.send(self.id, LOG, line, options)

    def record_usage(
        self,
        *,
        tokens: int = 0,
        cost: float | Decimal | str = 0,
        api_calls: int = 0,
        model: str | None = None,
        step: str | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """Add to the usage of the execution, or of one of its steps."""
        return self._command(USAGE, wire(Usage(tokens, cost, api_calls, model, step)), options)

    def checkpoint(
        self, state: JSON, *, step: str | None = None, **options: Unpack[CommandOptions]
    ) -> Self:
        """Save a state from which the execution can be resumed."""
        return self._command(CHECKPOINT, body(state=state, step=step), options)

    def heartbeat(self, worker: str | None = None, **options: Unpack[CommandOptions]) -> Self:
        """Report that the work continues. Of the document, only status and version are refreshed.

        Raises:
            LeaseLost: the worker does not hold the execution any more.
        """
        members = body(worker=worker)
        self._move(self._commands.send(self.id, HEARTBEAT, members, options, minimal=True))
        return self

    def declare_steps(
        self, steps: Sequence[Step | Mapping[str, Any]], **options: Unpack[CommandOptions]
    ) -> Self:
        """Declare steps, which are then pending."""
        return self._command(DECLARE_STEPS, body(steps=steps), options)

    def start_step(
        self,
        id: str,
        name: str | None = None,
        *,
        assignee: Who | None = None,
        input: Any = None,
        parent: str | None = None,
        kind: str | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """Start a step; one that was not declared is added."""
        step = body(name=name, assignee=assignee, input=input, parent=parent, kind=kind)
        return self._command(of_step("start", id), step, options)

    def complete_step(
        self,
        id: str,
        output: Any = None,
        *,
        usage: Usage | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """Complete a step with its output."""
        return self._command(of_step("complete", id), body(output=output, usage=usage), options)

    def fail_step(
        self,
        id: str,
        code: str,
        message: str,
        *,
        recoverable: bool = False,
        stack: str | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """Fail a step with an error."""
        error = body(code=code, message=message, recoverable=recoverable, stack=stack)
        return self._command(of_step("fail", id, keyed=recoverable), error, options)

    def skip_step(
        self, id: str, reason: str | None = None, **options: Unpack[CommandOptions]
    ) -> Self:
        """Skip a step."""
        return self._command(of_step("skip", id), body(reason=reason), options)

    def fork(
        self, version: int, *, id: str | None = None, **options: Unpack[CommandOptions]
    ) -> Execution:
        """Create a new execution that begins with the state of this one at a version."""
        chosen = id or new_id("exec")
        members = with_time({"version": version, "$id": chosen}, options)
        request = post(f"{self._path}/fork", members, option_headers(options))
        answer = create(self._transport, request, f"/executions/{segment(chosen)}")
        document = ServiceExecution.model_validate_json(answer.content)
        return Execution(self._transport, chosen, document)
