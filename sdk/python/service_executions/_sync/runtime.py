"""What the synchronous half needs of its world."""

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


def http_of_buffer(http: HttpClient) -> tuple[httpx2.Client, bool]:
    """The client of the thread that sends what is buffered, and whether it is the thread's own."""
    return http, False


def to_the_end(work: Callable[..., None], *args: Any) -> None:
    """Call what waits."""
    work(*args)


def in_thread(work: Callable[..., Done], *args: Any) -> Done:
    """What a function returns that waits."""
    return work(*args)


def decorate(recording: Recording, function: Function) -> Function:
    """A function each of whose calls is recorded, also a coroutine function."""
    if inspect.iscoroutinefunction(function):
        return _coroutine(recording, function)

    @wraps(function)
    def wrapper(*args: Any, **named: Any) -> Any:
        one = recording.again()
        if one.capture:
            one.input = capture(function, args, named)
        with one:
            result = function(*args, **named)
            if one.capture:
                one.output = result
            return result

    return wrapper  # type: ignore[return-value]


def _coroutine(recording: Recording, function: Function) -> Function:
    """The event loop goes on while a thread sends; the context is set where the function runs."""

    @wraps(function)
    async def wrapper(*args: Any, **named: Any) -> Any:
        one = recording.again()
        if one.capture:
            one.input = capture(function, args, named)
        await asyncio.to_thread(one.begin)
        one.activate()
        try:
            result = await function(*args, **named)
            if one.capture:
                one.output = result
        except BaseException as error:
            one.deactivate()
            await asyncio.shield(asyncio.to_thread(one.finish, error))
            raise
        one.deactivate()
        await asyncio.to_thread(one.finish, None)
        return result

    return wrapper  # type: ignore[return-value]
