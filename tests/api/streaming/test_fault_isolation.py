"""A fault in one stream or in one group of subscribers ends that stream or group; all others continue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import httpx
import pytest
import structlog

from api.streaming import filter as filters
from api.streaming.close_codes import FAULT
from api.streaming.log.entry import Chunk, Entry
from api.streaming.topic import Topic, TopicGroup
from tests.support.api_client import ok
from tests.support.hub import LOG, append, connect, running, until
from tests.support.running_server import Serving
from tests.support.stream_consumers import by_socket, read_until_closed, socket, until_caught_up

USERS = LOG._replace(filter=filters.read("user.*", []))
WATCHED = filters.read("user.created", [])


@pytest.mark.anyio
async def test_no_group_misses_an_event_although_frames_of_one_group_cannot_be_encoded(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = TopicGroup.chunks

    def fail(group: TopicGroup[Any], entries: Sequence[Entry]) -> list[Chunk]:
        if group.topic == USERS:
            raise ValueError("broken")
        return chunks(group, entries)

    async with running(database) as (hub, store):
        lines = [connect(hub, 0, topic) for topic in (LOG, USERS, LOG._replace(filter=WATCHED))]
        await append(store, 1)
        await until(lambda: all(line.positions == [1] for line in lines))
        with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
            patch.setattr(TopicGroup, "chunks", fail)
            await append(store, 1)
            await until(lambda: all(line.positions == [1, 2] for line in lines))
        assert [line["event"] for line in logs] == ["events cannot be published to a group"]
        await append(store, 1)
        await until(lambda: all(line.positions == [1, 2, 3] for line in lines))
        assert [line.cut_with for line in lines] == [None] * 3


@pytest.mark.anyio
async def test_subscriber_whose_frames_fail_is_cut_and_others_continue(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:

    chunks = Topic.shared_chunks

    def fail(topic: Topic, entries: Sequence[Entry]) -> Iterable[Chunk]:
        if topic == USERS:
            raise ValueError("broken")
        return chunks(topic, entries)

    async with running(database) as (hub, store):
        connect(hub)  # so that the log is followed
        await append(store, 5)
        await until(lambda: hub.position == 5)
        monkeypatch.setattr(Topic, "shared_chunks", fail)
        with structlog.testing.capture_logs() as logs:
            bad, good = connect(hub, 0, USERS), connect(hub)
            await until(lambda: good.positions == [1, 2, 3, 4, 5])
            await until(lambda: bad.cut_with == FAULT)
        assert [line["event"] for line in logs] == ["a subscriber cannot catch up"]
        assert bad.subscriber is not None
        assert bad.subscriber.done.result().code is None


def break_lines(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every write to the open streams fail."""

    def fail(_: bytes) -> None:
        raise RuntimeError("broken")

    for subscriber in server.system.hub._subscribers:
        monkeypatch.setattr(subscriber.transport, "write_raw", fail)


def ann(api: httpx.Client) -> int:
    """Create a user; return the position of the event."""
    response = api.post("/users", json={"name": "Ann", "kind": "person"})
    ok(response)
    return int(response.headers["Log-Position"])


def test_websocket_that_cannot_be_written_to_is_closed_with_its_cursor(
    server: Serving, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ann(api)
    with socket(server, "/events") as connected:
        received = read_until_closed(connected)
        assert until_caught_up(received) == []
        break_lines(server, monkeypatch)
        place = ann(api)
        assert list(received) == []
        assert (connected.close_code, connected.close_reason) == (FAULT, f"position {before}")
    (event,) = by_socket(server, "/events", before, 1)
    assert event["position"] == place
