"""Work that is recorded while it is done: an execution around it, and steps within it."""

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
from service_executions.recording.current import RUN, STEP
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
    """An execution that this process is doing. What is said here is recorded of it."""

    def __init__(self, id: str, recorder: AsyncRecorder) -> None:
        self.id = id
        self.result: Result | Mapping[str, Any] | None = None
        """What came out; without one it is a success that says nothing."""
        self.error: JSON | None = None
        self.recorder = recorder
        self._named: dict[str, int] = {}

    def fail(self, code: str, message: str, *, recoverable: bool = False) -> None:
        """Say that the work has failed, where no exception says so: its end is recorded as a failure."""
        self.error = body(code=code, message=message, recoverable=recoverable)

    def unique(self, step: str) -> str:
        """An id of a step that this run has not had: `send`, then `send-2`."""
        number = self._named[step] = self._named.get(step, 0) + 1
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
        """A step: a `with` around its work, or a decorator of the function that does it.

        It is part of the step within which it begins. One that begins again under the same id is another
        one (`send-2`). With `capture` a decorator records arguments and result.
        """
        declared = StepDeclaration(id, name, assignee, kind, parent)
        return AsyncStepRecording(declared, input=input, capture=capture, run=self)

    async def record(self, command: Command, members: Callable[[], JSON]) -> None:
        """Send a command, or pass over what goes wrong with it, as was chosen."""
        with tolerate(is_tolerant=self.recorder.is_tolerant):
            await self.recorder.send(self.id, command, members())

    async def progress(self, progress: float) -> None:
        """Say how far it is, from 0 to 100."""
        await self.record(PROGRESS, lambda: {"progress": progress})

    async def log(
        self, message: str, level: str = "info", *, context: Mapping[str, Any] | None = None
    ) -> None:
        """Add a line to its log, of the step within which it is said."""
        step: AsyncStepRecording | None = STEP.get()
        of = step and step.id
        await self.record(LOG, lambda: body(level=level, message=message, context=context, step=of))

    async def usage(
        self,
        *,
        tokens: int = 0,
        cost: float | Decimal | str = 0,
        api_calls: int = 0,
        model: str | None = None,
        step: str | None = None,
    ) -> None:
        """Add to what it has used up."""
        await self.record(USAGE, lambda: wire(Usage(tokens, cost, api_calls, model, step)))

    async def checkpoint(self, state: JSON) -> None:
        """Keep a state to go on from."""
        await self.record(CHECKPOINT, lambda: body(state=state))


class _AsyncRecording:
    """Something that is recorded from its beginning to its end."""

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
        """Record each call of a function."""
        return decorate(self, function)

    async def finish(self, error: BaseException | None) -> None:
        """End it. What cannot be recorded never hides what has happened to the work."""
        self.deactivate()
        if error is None:
            await self.end(None)
            return
        try:
            await to_the_end(self.end, error)
        except Exception as own:  # noqa: BLE001 - the error of the work goes on
            LOGGER.warning("the end of the work could not be recorded: %s", own)


class AsyncStepRecording(_AsyncRecording):
    """A step from its beginning to its end. `output` is what came out."""

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
        """The run that it is a step of; None where nothing is recorded."""
        return self._run

    async def end(self, error: BaseException | None) -> None:
        if self._run is None or isinstance(error, CANCELLED):
            return  # the end of the run ends its steps
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
        """Add to what it has used up."""
        if self._run is not None:
            await self._run.usage(
                tokens=tokens, cost=cost, api_calls=api_calls, model=model, step=self.id
            )

    def activate(self) -> None:
        self._tokens = (STEP.set(self),)

    def deactivate(self) -> None:
        for token in self._tokens:
            STEP.reset(token)
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
    """An execution around work: a `with` around it, or a decorator of the function that does it."""

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
            RUN.reset(run)
            STEP.reset(step)
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
