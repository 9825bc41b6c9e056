"""A filter that matches one event in 100 000 (in 2 000 without `--thorough`) misses no event."""

from __future__ import annotations

from itertools import islice, product

import httpx

from tests.support.api_client import Executions
from tests.support.delivery_proof import send_all
from tests.support.running_server import Serving
from tests.support.stream_consumers import NO_END, OURS, by_socket, by_sse, head, until_caught_up

BATCH = 1_000
FILTERS = ({"tag": "rare"}, {"types": "*.progress"})
"""The first filter needs the state after the event, the second only the event."""


def write(api: httpx.Client, execution: str, count: int) -> None:
    usage = {"command": "recordUsage", "execution": execution, "apiCalls": 1}
    for _ in range(count // BATCH):
        send_all(api, [usage] * BATCH)


def test_sparse_filter_misses_no_past_or_live_event(
    server: Serving, api: httpx.Client, executions: Executions, thorough: bool
) -> None:
    plain, rare = executions.running(), executions.running(tags=["rare"])
    begin = head(api)
    ways = list(product((by_sse, by_socket), FILTERS))
    live = [read(server, "/events", begin, NO_END, **query) for read, query in ways]
    for stream in live:
        assert until_caught_up(stream) == []
    wanted = []
    for progress in (10, 20):
        write(api, plain, 100_000 if thorough else 2_000)
        wanted.append(executions.tell(rare, "progress", progress=progress)["position"])
    for stream in live:
        events = (frame["position"] for frame in stream if frame["type"] not in OURS)
        assert list(islice(events, len(wanted))) == wanted
    for read, query in ways:
        past = until_caught_up(read(server, "/events", begin, NO_END, **query))
        assert [frame["position"] for frame in past if frame["type"] not in OURS] == wanted
