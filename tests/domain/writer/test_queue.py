"""Commands that wait too long in the queue before the writer."""

from __future__ import annotations

import pytest

from domain.errors import Overloaded
from domain.outages import AWAY, Outages
from domain.writer import queue
from domain.writer.queue import WAITED, CommandQueue, FutureReceiver
from tests.support.sample_aggregate import Begin, message

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("outage", "detail"), [(False, WAITED), (True, AWAY)])
async def test_command_that_waited_too_long_is_refused_with_the_cause(
    monkeypatch: pytest.MonkeyPatch, outage: bool, detail: str
) -> None:
    monkeypatch.setattr(queue, "LONGEST_WAIT", -1.0)
    outages, receiver = Outages(), FutureReceiver()
    waiting = CommandQueue(10, outages)
    waiting.put(message("a", Begin()), receiver)
    if outage:
        outages.begin("no connection")
    assert waiting.take() == []
    refused = receiver.future.exception()
    assert isinstance(refused, Overloaded)
    assert refused.detail == detail
