"""The work for a request is cancelled when its client disconnects."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from api.web.disconnects import while_connected

pytestmark = pytest.mark.anyio


class Client:
    """A client that has sent its request, and disconnects on demand."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self._asked = False

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def test_result_of_the_work_is_returned() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await while_connected(Client().receive, work()) == 7


async def test_error_in_the_work_is_raised_by_the_request() -> None:
    async def work() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await while_connected(Client().receive, work())


async def test_work_is_cancelled_when_the_client_disconnects() -> None:
    client, ended = Client(), asyncio.Event()

    async def work() -> None:
        client.gone.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ClientDisconnect):
        await while_connected(client.receive, work())
    assert ended.is_set()


async def test_work_is_cancelled_with_its_request() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    request = asyncio.ensure_future(while_connected(Client().receive, work()))
    await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert ended.is_set()
