"""Large events are read in pages of few events: none is missed, and memory stays bounded."""

from __future__ import annotations

import httpx
import pytest

from domain.eventlog import state_parts, store
from tests.support.api_client import Executions, ok
from tests.support.running_server import Serving
from tests.support.stream_consumers import head, past, read_until_closed, socket, until_caught_up


@pytest.fixture
def limit_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit pages to a few kilobytes, so that each large event fills one."""
    monkeypatch.setattr(store, "READ_BYTES", 5_000)
    monkeypatch.setattr(state_parts, "PAGE_BYTES", 5_000)
    monkeypatch.setattr("api.streaming.log.loader.PAGE_BYTES", 5_000)


@pytest.mark.usefixtures("limit_pages")
@pytest.mark.parametrize("of_one", [False, True])
def test_large_events_are_streamed_in_order_live_and_later(
    server: Serving, api: httpx.Client, executions: Executions, *, of_one: bool
) -> None:
    execution, begin = executions.running(), head(api)
    path = f"/executions/{execution}/events" if of_one else "/events"
    with socket(server, path, **{"from": begin}) as connected:
        frames = read_until_closed(connected)
        until_caught_up(frames)
        for number in range(30):
            state = {"page": "x" * (7_000 if number % 3 else 10)}
            ok(api.post(f"/executions/{execution}/checkpoints", json={"state": state}))
        live = [next(frames)["position"] for _ in range(30)]
    server.system.hub.raw.forget()  # it is read from the log, not from memory
    later = [frame["position"] for frame in past(server, path, **{"from": begin})]
    assert live == later == list(range(begin + 1, begin + 31))
