"""A server that is asked to end under load answers or refuses every accepted command, and ends in order."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from api.server import GRACE
from tests.support.load import assert_log_contains, under_load
from tests.support.service_process import Service

pytestmark = pytest.mark.anyio


async def test_server_asked_to_end_under_load_ends_in_order_and_loses_nothing(
    service: Service, thorough: bool
) -> None:
    async with under_load(service, "ending", thorough=thorough) as load:
        for _ in range(6 if thorough else 2):
            begun = monotonic()
            assert await asyncio.to_thread(service.terminate) == 0
            assert monotonic() - begun < GRACE
            await asyncio.to_thread(service.start)
            await load.answered(50)
    assert "Traceback" not in service.log()
    assert "rror" not in service.log()
    assert all(refusal.headers["retry-after"] for refusal in load.refusals)
    assert_log_contains(service.events(), load.answers)
