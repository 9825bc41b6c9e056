"""A filter that matches one event in 100 000 (one in 2 000 unless there is time) misses none."""

from __future__ import annotations

from itertools import islice, product

import httpx

from tests.api.conftest import Executions
from tests.api.serving import Serving
from tests.streams.consumers import OURS, by_socket, by_sse, head, until_caught_up
from tests.streams.proof import tell

AT_ONCE = 1_000
ENDLESS = 10**9
FILTERS = ({"tag": "rare"}, {"types": "*.progress"})
"""One asks the state after the event, the other the event alone."""


def write(api: httpx.Client, execution: str, count: int) -> None:
    usage = {"command": "recordUsage", "execution": execution, "apiCalls": 1}
    for _ in range(count // AT_ONCE):
        tell(api, [usage] * AT_ONCE)


def test_a_filter_that_hardly_ever_matches_misses_nothing_of_the_past_or_the_present(
    server: Serving, api: httpx.Client, executions: Executions, thorough: bool
) -> None:
    plain, rare = executions.running(), executions.running(tags=["rare"])
    begin = head(api)
    ways = list(product((by_sse, by_socket), FILTERS))
    live = [read(server, "/events", begin, ENDLESS, **query) for read, query in ways]
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
        past = until_caught_up(read(server, "/events", begin, ENDLESS, **query))
        assert [frame["position"] for frame in past if frame["type"] not in OURS] == wanted
