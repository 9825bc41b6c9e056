"""The parts of the asynchronous half that differ from the synchronous one: waiting, threads and decorators."""

from __future__ import annotations

import inspect
from asyncio import CancelledError, ensure_future, shield, sleep, to_thread
from collections.abc import Awaitable, Callable
from functools import wraps
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

HttpClient = httpx2.AsyncClient
CANCELLED: tuple[type[BaseException], ...] = (CancelledError, KeyboardInterrupt, SystemExit)
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


def http_of_buffer(http: HttpClient) -> tuple[httpx2.Client, bool]:  # noqa: ARG001 - the synchronous half uses it
    """Return the HTTP client for the thread that sends buffered commands, and whether the buffer must close it."""
    return httpx2.Client(), True


async def to_the_end(work: Callable[..., Awaitable[None]], *args: Any) -> None:
    """Call a coroutine function, and let the call end even if this task is cancelled meanwhile."""
    await shield(ensure_future(work(*args)))


async def in_thread(work: Callable[..., Done], *args: Any) -> Done:
    """Call a blocking function in a thread, and return its result."""
    return await to_thread(work, *args)


def decorate(recording: Recording, function: Function) -> Function:
    """Return a coroutine function each of whose calls is recorded.

    Raises:
        TypeError: `function` is no coroutine function; `Client` records other functions.
    """
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{function!r} is no coroutine function: decorate it with a `Client`")

    @wraps(function)
    async def wrapper(*args: Any, **named: Any) -> Any:
        of_call = recording.again()
        if of_call.capture:
            of_call.input = capture(function, args, named)
        async with of_call:
            result = await function(*args, **named)
            if of_call.capture:
                of_call.output = result
            return result

    return wrapper  # type: ignore[return-value]
