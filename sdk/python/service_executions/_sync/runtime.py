"""The parts of the synchronous half that differ from the asynchronous one: waiting, threads and decorators."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import wraps
from time import sleep
from typing import Any, Protocol, TypeVar

import httpx2

from service_executions.recording.arguments import capture

__all__ = [
    "CANCELLED",
    "HttpClient",
    "decorate",
    "http_of_buffer",
    "in_thread",
    "sleep",
    "to_the_end",
]

HttpClient = httpx2.Client
CANCELLED: tuple[type[BaseException], ...] = (
    asyncio.CancelledError,
    KeyboardInterrupt,
    SystemExit,
)
"""The exceptions that cancel work instead of failing it."""
Function = TypeVar("Function", bound=Callable[..., Any])
Done = TypeVar("Done")


class Recording(Protocol):
    """A recording that can decorate a function."""

    capture: bool
    output: Any

    def again(self) -> Any:
        """Return a new recording with the same settings, for one call of the function."""
        ...


def http_of_buffer(http: HttpClient) -> tuple[httpx2.Client, bool]:
    """Return the HTTP client for the thread that sends buffered commands, and whether the buffer must close it."""
    return http, False


def to_the_end(work: Callable[..., None], *args: Any) -> None:
    """Call a function."""
    work(*args)


def in_thread(work: Callable[..., Done], *args: Any) -> Done:
    """Call a blocking function, and return its result."""
    return work(*args)


def decorate(recording: Recording, function: Function) -> Function:
    """Return a function each of whose calls is recorded. A coroutine function stays one."""
    if inspect.iscoroutinefunction(function):
        return _coroutine(recording, function)

    @wraps(function)
    def wrapper(*args: Any, **named: Any) -> Any:
        of_call = recording.again()
        if of_call.capture:
            of_call.input = capture(function, args, named)
        with of_call:
            result = function(*args, **named)
            if of_call.capture:
                of_call.output = result
            return result

    return wrapper  # type: ignore[return-value]


def _coroutine(recording: Recording, function: Function) -> Function:
    """Return a coroutine function each of whose calls is recorded.

    A thread sends the commands, so that the event loop is not blocked. The context is set in the task of the function.
    """

    @wraps(function)
    async def wrapper(*args: Any, **named: Any) -> Any:
        of_call = recording.again()
        if of_call.capture:
            of_call.input = capture(function, args, named)
        await asyncio.to_thread(of_call.begin)
        of_call.activate()
        try:
            result = await function(*args, **named)
            if of_call.capture:
                of_call.output = result
        except BaseException as error:
            of_call.deactivate()
            await asyncio.shield(asyncio.to_thread(of_call.finish, error))
            raise
        of_call.deactivate()
        await asyncio.to_thread(of_call.finish, None)
        return result

    return wrapper  # type: ignore[return-value]
