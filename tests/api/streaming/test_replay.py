"""Replay at a speed, and the effect of pause, seek and a new speed on it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from websockets.sync.client import ClientConnection

from api.streaming import replay_clock
from api.streaming.replay_clock import ReplayClock
from tests.support.api_client import Executions
from tests.support.hub import append, connect, running, until
from tests.support.running_server import Serving
from tests.support.stream_consumers import JSON, read_until_closed, socket, until_caught_up

GAP = 0.8
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def gapped(executions: Executions) -> str:
    """An execution with a gap in time before its first progress."""
    execution = executions.running()
    time.sleep(GAP)
    executions.tell(execution, "progress", progress=50)
    return execution


def say(connected: ClientConnection, **word: float) -> float:
    """Send a message to the server; return the time at which it was sent."""
    connected.send(json.dumps(word))
    return time.monotonic()


def seconds_to_progress(frames: Iterator[JSON], since: float) -> float:
    next(frame for frame in frames if frame["type"] == "progress")
    return time.monotonic() - since


def test_replay_clock_stops_during_a_pause(server: Serving, gapped: str) -> None:
    with socket(server, f"/executions/{gapped}/watch", speed=1) as opened:
        frames = read_until_closed(opened)
        next(frames)
        say(opened, pause=True)
        time.sleep(2 * GAP)
        since = say(opened, pause=False)
        assert seconds_to_progress(frames, since) > GAP / 4


def test_seek_keeps_the_speed(server: Serving, gapped: str) -> None:
    with socket(server, f"/executions/{gapped}/watch", speed=1) as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        for _ in range(2):
            since = say(opened, seek=0)
            assert seconds_to_progress(frames, since) > GAP / 2


def test_speed_set_while_live_applies_to_the_next_seek(server: Serving, gapped: str) -> None:
    with socket(server, f"/executions/{gapped}/watch") as opened:
        frames = read_until_closed(opened)
        until_caught_up(frames)
        say(opened, speed=1)
        since = say(opened, seek=0)
        assert seconds_to_progress(frames, since) > GAP / 2
        say(opened, speed=0)
        since = say(opened, seek=0)
        assert seconds_to_progress(frames, since) < GAP / 2


@pytest.mark.parametrize("word", [{"seek": 0}, {"speed": 0}])
def test_seek_and_a_speed_end_a_pause(server: Serving, gapped: str, word: dict[str, float]) -> None:
    with socket(server, f"/executions/{gapped}/watch", speed=0.001) as opened:
        frames = read_until_closed(opened)
        next(frames)
        say(opened, pause=True)
        say(opened, **word)
        if "seek" in word:
            next(frame for frame in frames if frame.get("status") == "queued")
        else:
            until_caught_up(frames)


@pytest.mark.anyio
async def test_catch_up_ignores_a_speed_set_while_live(database: str) -> None:
    async with running(database) as (hub, store):
        line = connect(hub)
        await append(store, 1)
        await until(lambda: line.positions == [1])
        connection = line.subscriber
        assert connection is not None
        connection.play(0.000_001)
        line.paused = True
        for _ in range(3):
            await append(store, 1)
        await until(lambda: not connection.live)
        line.resume()
        await until(lambda: line.positions == [1, 2, 3, 4])


def test_replay_clock_continues_where_it_was_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(replay_clock, "monotonic", lambda: clock[0])
    replay = ReplayClock(10)
    assert replay.wait(NOON) == 0
    clock[0] += 1
    for _ in range(2):
        replay.stop()
        clock[0] += 1_000
    replay.continue_()
    replay.continue_()
    assert replay.wait(NOON + timedelta(seconds=25)) == pytest.approx(1.5)
