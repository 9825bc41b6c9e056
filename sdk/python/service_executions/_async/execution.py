"""One execution: its commands, which return and refresh the same object, and its reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Self, Unpack

from service_executions._async.commands import AsyncCommands, create
from service_executions._async.reads import AsyncReads
from service_executions._async.transport import AsyncTransport
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


class AsyncExecution(AsyncReads):
    """An execution. Every command returns this very object, with the state after the command."""

    def __init__(
        self, transport: AsyncTransport, id: str, document: ServiceExecution | None = None
    ) -> None:
        super().__init__(transport, id, document)
        self._commands = AsyncCommands(transport)

    async def _tell(self, command: Command, members: JSON, options: CommandOptions) -> Self:
        answer = await self._commands.send(self.id, command, members, options)
        self._document = ServiceExecution.model_validate_json(answer)
        return self

    # --- its life ---------------------------------------------------------------------------------

    async def start(self, **options: Unpack[CommandOptions]) -> Self:
        """Begin with it: `queued` → `running`."""
        return await self._tell(START, {}, options)

    async def pause(
        self,
        reason: str | None = None,
        *,
        state: JSON | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """Stop for a while, and keep a checkpoint: `running` → `paused`."""
        return await self._tell(PAUSE, body(reason=reason, state=state), options)

    async def resume(
        self, checkpoint: str | None = None, **options: Unpack[CommandOptions]
    ) -> Self:
        """Go on from a checkpoint, by default the last one: `paused` → `running`."""
        return await self._tell(RESUME, body(checkpoint_id=checkpoint), options)

    async def complete(
        self,
        result: Result | Mapping[str, Any] | None = None,
        *,
        usage: Usage | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """End it normally, with what came out."""
        given = wire(result if result is not None else Result())
        return await self._tell(COMPLETE, {**given, **body(usage=usage)}, options)

    async def fail(
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
        return await self._tell(FAIL_RECOVERABLY if recoverable else FAIL, error, options)

    async def retry(self, **options: Unpack[CommandOptions]) -> Self:
        """Try a failed one again, or do not wait for its next attempt."""
        return await self._tell(RETRY, {}, options)

    async def cancel(self, reason: str | None = None, **options: Unpack[CommandOptions]) -> Self:
        """End it, as it is not wanted any more."""
        return await self._tell(CANCEL, body(reason=reason), options)

    # --- what happens meanwhile -------------------------------------------------------------------

    async def update_progress(self, progress: float, **options: Unpack[CommandOptions]) -> Self:
        """Say how far it is, from 0 to 100."""
        return await self._tell(PROGRESS, {"progress": progress}, options)

    async def update(
        self,
        *,
        assignee: Who | None = None,
        priority: str | None = None,
        timeout: int | timedelta | None = None,  # noqa: ASYNC109 - that of the execution
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
        answer = await self._transport.send(request.with_method("PATCH"))
        self._document = ServiceExecution.model_validate_json(answer.content)
        return self

    async def log(
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
        await self._commands.send(self.id, LOG, line, options)

    async def record_usage(
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
        return await self._tell(USAGE, wire(Usage(tokens, cost, api_calls, model, step)), options)

    async def checkpoint(
        self, state: JSON, *, step: str | None = None, **options: Unpack[CommandOptions]
    ) -> Self:
        """Keep a state to go on from."""
        return await self._tell(CHECKPOINT, body(state=state, step=step), options)

    async def heartbeat(self, worker: str | None = None, **options: Unpack[CommandOptions]) -> Self:
        """Say that the work goes on. Refreshes the status and the version, and reads nothing else of it.

        Raises:
            LeaseLost: it is another worker's by now.
        """
        members = body(worker=worker)
        self._move(await self._commands.send(self.id, HEARTBEAT, members, options, minimal=True))
        return self

    # --- its steps --------------------------------------------------------------------------------

    async def declare_steps(
        self, steps: Sequence[Step | Mapping[str, Any]], **options: Unpack[CommandOptions]
    ) -> Self:
        """Say which steps there will be."""
        return await self._tell(DECLARE_STEPS, body(steps=steps), options)

    async def start_step(
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
        return await self._tell(of_step("start", id), step, options)

    async def complete_step(
        self,
        id: str,
        output: Any = None,
        *,
        usage: Usage | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """End a step, with what came out."""
        return await self._tell(of_step("complete", id), body(output=output, usage=usage), options)

    async def fail_step(
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
        return await self._tell(of_step("fail", id, keyed=recoverable), error, options)

    async def skip_step(
        self,
        id: str,
        reason: str | None = None,
        **options: Unpack[CommandOptions],
    ) -> Self:
        """Leave a step out."""
        return await self._tell(of_step("skip", id), body(reason=reason), options)

    async def fork(
        self,
        version: int,
        *,
        id: str | None = None,
        **options: Unpack[CommandOptions],
    ) -> AsyncExecution:
        """A new execution that begins where this one was at a version."""
        chosen = id or new_id("exec")
        members = with_time({"version": version, "$id": chosen}, options)
        request = post(f"{self._path}/fork", members, option_headers(options))
        answer = await create(self._transport, request, f"/executions/{segment(chosen)}")
        document = ServiceExecution.model_validate_json(answer.content)
        return AsyncExecution(self._transport, chosen, document)
