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
    """An execution. Every command returns this very object, with the state after the command."""

    def __init__(
        self, transport: Transport, id: str, document: ServiceExecution | None = None
    ) -> None:
        super().__init__(transport, id, document)
        self._commands = Commands(transport)

    def _tell(self, command: Command, members: JSON, options: CommandOptions) -> Self:
        answer = self._commands.send(self.id, command, members, options)
        self._document = ServiceExecution.model_validate_json(answer)
        return self

    def start(self, **options: Unpack[CommandOptions]) -> Self:
        """Begin with it: `queued` → `running`."""
        return self._tell(START, {}, options)

    def pause(
        self,
        reason: str | None = None,
        *,
        state: JSON | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """Stop for a while, and keep a checkpoint: `running` → `paused`."""
        return self._tell(PAUSE, body(reason=reason, state=state), options)

    def resume(self, checkpoint: str | None = None, **options: Unpack[CommandOptions]) -> Self:
        """Go on from a checkpoint, by default the last one: `paused` → `running`."""
        return self._tell(RESUME, body(checkpoint_id=checkpoint), options)

    def complete(
        self,
        result: Result | Mapping[str, Any] | None = None,
        *,
        usage: Usage | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """End it normally, with what came out."""
        given = wire(result if result is not None else Result())
        return self._tell(COMPLETE, {**given, **body(usage=usage)}, options)

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
        """End this attempt with an error. A recoverable one is tried again, as the policy says."""
        error = body(
            code=code,
            message=message,
            step=step,
            recoverable=recoverable,
            stack=stack,
            retry_count=retry_count,
        )
        return self._tell(FAIL_RECOVERABLY if recoverable else FAIL, error, options)

    def retry(self, **options: Unpack[CommandOptions]) -> Self:
        """Try a failed one again, or do not wait for its next attempt."""
        return self._tell(RETRY, {}, options)

    def cancel(self, reason: str | None = None, **options: Unpack[CommandOptions]) -> Self:
        """End it, as it is not wanted any more."""
        return self._tell(CANCEL, body(reason=reason), options)

    def update_progress(self, progress: float, **options: Unpack[CommandOptions]) -> Self:
        """Say how far it is, from 0 to 100."""
        return self._tell(PROGRESS, {"progress": progress}, options)

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
        """Change what the client owns; what is not given stays, what `clear` names is taken away."""
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
        """Add a line to its log."""
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
        """Add to what it has used up."""
        return self._tell(USAGE, wire(Usage(tokens, cost, api_calls, model, step)), options)

    def checkpoint(
        self, state: JSON, *, step: str | None = None, **options: Unpack[CommandOptions]
    ) -> Self:
        """Keep a state to go on from."""
        return self._tell(CHECKPOINT, body(state=state, step=step), options)

    def heartbeat(self, worker: str | None = None, **options: Unpack[CommandOptions]) -> Self:
        """Say that the work goes on. Refreshes the status and the version, and reads nothing else of it.

        Raises:
            LeaseLost: it is another worker's by now.
        """
        members = body(worker=worker)
        self._move(self._commands.send(self.id, HEARTBEAT, members, options, minimal=True))
        return self

    def declare_steps(
        self, steps: Sequence[Step | Mapping[str, Any]], **options: Unpack[CommandOptions]
    ) -> Self:
        """Say which steps there will be."""
        return self._tell(DECLARE_STEPS, body(steps=steps), options)

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
        """Begin with a step; one that was not declared is added."""
        step = body(name=name, assignee=assignee, input=input, parent=parent, kind=kind)
        return self._tell(of_step("start", id), step, options)

    def complete_step(
        self,
        id: str,
        output: Any = None,
        *,
        usage: Usage | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """End a step, with what came out."""
        return self._tell(of_step("complete", id), body(output=output, usage=usage), options)

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
        """End a step with an error."""
        error = body(code=code, message=message, recoverable=recoverable, stack=stack)
        return self._tell(of_step("fail", id, keyed=recoverable), error, options)

    def skip_step(
        self, id: str, reason: str | None = None, **options: Unpack[CommandOptions]
    ) -> Self:
        """Leave a step out."""
        return self._tell(of_step("skip", id), body(reason=reason), options)

    def fork(
        self, version: int, *, id: str | None = None, **options: Unpack[CommandOptions]
    ) -> Execution:
        """A new execution that begins where this one was at a version."""
        chosen = id or new_id("exec")
        members = with_time({"version": version, "$id": chosen}, options)
        request = post(f"{self._path}/fork", members, option_headers(options))
        answer = create(self._transport, request, f"/executions/{segment(chosen)}")
        document = ServiceExecution.model_validate_json(answer.content)
        return Execution(self._transport, chosen, document)
