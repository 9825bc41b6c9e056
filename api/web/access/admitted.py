"""Ends long answers when the credential of their caller ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive, Scope, Send

from api.access.identity import ADMIN_TOKEN, Caller
from api.access.open_requests import OpenRequests
from api.problems.problems import Unauthenticated

T = TypeVar("T")


class Stream:
    """A response that is sent over time. It is ended when the credential of its caller ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        raise NotImplementedError

    def end_access(self, reason: str) -> None:
        """Send the reason, and end the response."""
        raise NotImplementedError


async def while_admitted(open_requests: OpenRequests, caller: Caller, work: Awaitable[T]) -> T:
    """Await `work` in the current task, and cancel it when the credential of the caller ends.

    Raises:
        Unauthenticated: the credential of the caller ended before the work did.
    """
    task = asyncio.current_task()
    if task is None or caller.credential in {"", ADMIN_TOKEN}:
        return await work
    ended: list[str] = []

    def end(reason: str) -> None:
        ended.append(reason)
        task.cancel()

    with open_requests.of(caller, end):
        try:
            return await work
        except asyncio.CancelledError:
            if not ended or task.uncancel() > 0:
                raise
            raise Unauthenticated(f"Your credential is not valid any more: {ended[0]}.") from None
