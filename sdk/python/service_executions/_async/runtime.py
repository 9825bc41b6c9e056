"""What the asynchronous half needs of its world."""

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
"""What ends work without being its failure."""
Function = TypeVar("Function", bound=Callable[..., Any])
Done = TypeVar("Done")


class Recording(Protocol):
    """What a function may be decorated with."""

    capture: bool
    output: Any

    def again(self) -> Any:
        """One like it, for one call."""
        ...


def http_of_buffer(http: HttpClient) -> tuple[httpx2.Client, bool]:  # noqa: ARG001 - the other half takes it
    """The client of the thread that sends what is buffered, and whether it is the thread's own."""
    return httpx2.Client(), True


async def to_the_end(work: Callable[..., Awaitable[None]], *args: Any) -> None:
    """Call what waits, and let it end though this task is cancelled meanwhile."""
    await shield(ensure_future(work(*args)))


async def in_thread(work: Callable[..., Done], *args: Any) -> Done:
    """What a function returns that waits, called beside the event loop."""
    return await to_thread(work, *args)


def decorate(recording: Recording, function: Function) -> Function:
    """A coroutine function each of whose calls is recorded.

    Raises:
        TypeError: it is no coroutine function: only `Client` records those.
    """
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{function!r} is no coroutine function: decorate it with a `Client`")

    @wraps(function)
    async def wrapper(*args: Any, **named: Any) -> Any:
        one = recording.again()
        if one.capture:
            one.input = capture(function, args, named)
        async with one:
            result = await function(*args, **named)
            if one.capture:
                one.output = result
            return result

    return wrapper  # type: ignore[return-value]
