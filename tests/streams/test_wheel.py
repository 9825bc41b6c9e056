"""The clock of all connections goes on, whatever becomes of one of them."""

from __future__ import annotations

import pytest
import structlog

from tests.streams.test_hub import LOG, Line, append, connect, running, until


class Broken(Line):
    """A line that fails where others take a heartbeat."""

    def write(self, data: bytes) -> None:
        if b": heartbeat" in data:
            raise RuntimeError("broken")
        super().write(data)


@pytest.mark.anyio
async def test_one_that_cannot_be_visited_ends_and_the_others_hear_their_heartbeats(
    database: str,
) -> None:
    async with running(database) as (hub, store):
        hub.wheel.second = 0.01
        with structlog.testing.capture_logs() as logs:
            broken, whole = hub.connect(Broken(), LOG, 0, None), connect(hub)
            broken.pump()
            await until(lambda: whole.written.count(b": heartbeat\n") >= 2)
        assert broken.done.result().code is None
        assert [line["event"] for line in logs].count("heartbeat failed") == 1
        await append(store, 3)
        await until(lambda: whole.positions == [1, 2, 3])
