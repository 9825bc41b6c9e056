"""Records work while it is done: as an execution, with steps inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypeVar

from service_executions._async.recorder import AsyncRecorder
from service_executions._async.runtime import CANCELLED, Function, decorate, to_the_end
from service_executions.ids import new_id
from service_executions.recording import signals
from service_executions.recording.current import RUN, STEP, reset
from service_executions.recording.ends import failure, reason
from service_executions.recording.step_declaration import StepDeclaration
from service_executions.recording.tolerance import tolerate
from service_executions.requests import (
    CANCEL,
    CHECKPOINT,
    COMPLETE,
    FAIL,
    FAIL_RECOVERABLY,
    LOG,
    PROGRESS,
    USAGE,
    Command,
    of_step,
)
from service_executions.resumption import LOG as LOGGER
from service_executions.values import JSON, Assignee, Result, Usage, body, wire

Subject = TypeVar("Subject")
DONE = Result(True, None, "Done")


class AsyncRun:
    """An execution whose work this process does and records."""

    def __init__(self, id: str, recorder: AsyncRecorder) -> None:
        self.id = id
        self.result: Result | Mapping[str, Any] | None = None
        """The result of the work; None for a success without output."""
        self.error: JSON | None = None
        self.recorder = recorder
        self._step_counts: dict[str, int] = {}

    def fail(self, code: str, message: str, *, recoverable: bool = False) -> None:
        """Record the end of the work as a failure, although no exception is raised."""
        self.error = body(code=code, message=message, recoverable=recoverable)

    def unique(self, step: str) -> str:
        """Return an id for a step that is new in this run: `send`, then `send-2`."""
        number = self._step_counts[step] = self._step_counts.get(step, 0) + 1
        return step if number == 1 else f"{step}-{number}"

    def step(
        self,
        id: str,
        name: str | None = None,
        *,
        assignee: Assignee | Mapping[str, Any] | None = None,
        input: Any = None,
        kind: str | None = None,
        parent: str | None = None,
        capture: bool = False,
    ) -> AsyncStepRecording:
        """Return a step: use it as a `with` block around its work, or as a decorator of a function.

        A step that begins inside another step becomes part of it. A step that begins again gets another id (`send-2`).
        With `capture`, a decorator records the arguments and the result.
        """
        declared = StepDeclaration(id, name, assignee, kind, parent)
        return AsyncStepRecording(declared, input=input, capture=capture, run=self)

    async def record(self, command: Command, members: Callable[[], JSON]) -> None:
        """Send a command. If the recorder is tolerant, errors are logged instead of raised."""
        with tolerate(is_tolerant=self.recorder.is_tolerant):
            await self.recorder.send(self.id, command, members())

    async def progress(self, progress: float) -> None:
        """Report the progress of the work, from 0 to 100."""
        await self.record(PROGRESS, lambda: {"progress": progress})

    async def log(
        self, message: str, level: str = "info", *, context: Mapping[str, Any] | None = None
    ) -> None:
        """Add a line to the log of the execution, for the step inside which this is called, if any."""
        step: AsyncStepRecording | None = STEP.get()
        step_id = step and step.id
        await self.record(
            LOG, lambda: body(level=level, message=message, context=context, step=step_id)
        )

    async def usage(
        self,
        *,
        tokens: int = 0,
        cost: float | Decimal | str = 0,
        api_calls: int = 0,
        model: str | None = None,
        step: str | None = None,
    ) -> None:
        """Add to the usage of the execution, or of one of its steps."""
        await self.record(USAGE, lambda: wire(Usage(tokens, cost, api_calls, model, step)))

    async def checkpoint(self, state: JSON) -> None:
        """Save a state from which the execution can be resumed."""
        await self.record(CHECKPOINT, lambda: body(state=state))


class _AsyncRecording:
    """A recording of work from its beginning to its end."""

    capture = False
    input: Any = None
    output: Any = None

    async def begin(self) -> None:
        raise NotImplementedError

    async def end(self, error: BaseException | None) -> None:
        raise NotImplementedError

    def activate(self) -> None:
        raise NotImplementedError

    def deactivate(self) -> None:
        raise NotImplementedError

    def again(self) -> _AsyncRecording:
        raise NotImplementedError

    def __call__(self, function: Function) -> Function:
        """Decorate a function so that each call is recorded."""
        return decorate(self, function)

    async def finish(self, error: BaseException | None) -> None:
        """Record the end. A failure to record it never hides an exception of the work."""
        self.deactivate()
        if error is None:
            await to_the_end(self.end, None)
            return
        try:
            await to_the_end(self.end, error)
        except Exception as failed:  # noqa: BLE001 - the exception of the work is raised
            LOGGER.warning("the end of the work could not be recorded: %s", failed)


class AsyncStepRecording(_AsyncRecording):
    """A recording of a step. Set `output` to its result."""

    def __init__(
        self, declared: StepDeclaration, *, input: Any, capture: bool, run: AsyncRun | None
    ) -> None:
        self.id = declared.id
        self.input = input
        self.capture = capture
        self._declared = declared
        self._run = run
        self._tokens: tuple[Any, ...] = ()

    def again(self) -> AsyncStepRecording:
        return AsyncStepRecording(
            self._declared, input=self.input, capture=self.capture, run=self._run
        )

    async def begin(self) -> None:
        run = self._run = self._run or RUN.get()
        if run is None:
            return
        above: AsyncStepRecording | None = STEP.get()
        declared = self._declared
        parent = declared.parent or (above.id if above is not None and above.run is run else None)
        self.id = run.unique(declared.id)
        await run.record(
            of_step("start", self.id),
            lambda: body(
                step=self.id,
                name=declared.name,
                assignee=declared.assignee,
                kind=declared.kind,
                parent=parent,
                input=self.input,
            ),
        )

    @property
    def run(self) -> AsyncRun | None:
        """The run to which the step belongs; None if nothing is recorded."""
        return self._run

    async def end(self, error: BaseException | None) -> None:
        if self._run is None or isinstance(error, CANCELLED):
            return  # the end of the run also ends its steps
        verb = "complete" if error is None else "fail"

        def members() -> JSON:
            return body(output=self.output) if error is None else failure(error)

        await self._run.record(of_step(verb, self.id), lambda: {"step": self.id, **members()})
        if error is not None:
            error.__dict__.setdefault("_service_executions_step", self.id)

    async def usage(
        self,
        *,
        tokens: int = 0,
        cost: float | Decimal | str = 0,
        api_calls: int = 0,
        model: str | None = None,
    ) -> None:
        """Add to the usage of the step."""
        if self._run is not None:
            await self._run.usage(
                tokens=tokens, cost=cost, api_calls=api_calls, model=model, step=self.id
            )

    def activate(self) -> None:
        self._tokens = (STEP.set(self),)

    def deactivate(self) -> None:
        for token in self._tokens:
            reset(STEP, token)
        self._tokens = ()

    async def __aenter__(self) -> Self:
        await self.begin()
        self.activate()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.finish(error)


class AsyncTracking(_AsyncRecording):
    """A recording of an execution: a `with` block around the work, or a decorator of a function."""

    def __init__(self, recorder: AsyncRecorder, id: str | None, members: JSON) -> None:
        self._recorder = recorder
        self._id = id
        self._members = members
        self._tokens: tuple[Any, ...] = ()
        self._has_signal = False
        self.run = AsyncRun(id or new_id("exec"), recorder)

    def again(self) -> AsyncTracking:
        return AsyncTracking(self._recorder, self._id, self._members)

    async def begin(self) -> None:
        await self._recorder.create(self.run.id, {**self._members, "status": "running"})

    async def end(self, error: BaseException | None) -> None:
        run = self.run
        if error is None and run.error is not None:
            command = FAIL_RECOVERABLY if run.error["recoverable"] else FAIL
            await run.record(command, lambda: run.error or {})
        elif error is None:
            if self.output is not None and run.result is None:
                run.result = replace(DONE, output=self.output)
            await run.record(COMPLETE, lambda: wire(run.result or DONE))
        elif isinstance(error, CANCELLED):
            await run.record(CANCEL, lambda: {"reason": reason(error)})
        else:
            step = getattr(error, "_service_executions_step", None)
            await run.record(FAIL, lambda: {**failure(error), **body(step=step)})

    def activate(self) -> None:
        self._tokens = (RUN.set(self.run), STEP.set(None))
        self._has_signal = signals.begin()

    def deactivate(self) -> None:
        if self._tokens:
            run, step = self._tokens
            reset(RUN, run)
            reset(STEP, step)
            self._tokens = ()
        if self._has_signal:
            self._has_signal = False
            signals.end()

    async def __aenter__(self) -> AsyncRun:
        await self.begin()
        self.activate()
        return self.run

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.finish(error)
