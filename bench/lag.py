"""Measures how far the views are behind the log while events are written at a steady rate.

Whole lives of executions are sent in calls of 500 commands, without waiting for the views. Twenty times a second the
positions of the log and of the views are read. The lag of a view is the time since the log got the event after the view's
position.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import uvloop

from bench.machine import Meter
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import A_CALL, CALLS_AT_ONCE, Item, Service, check_all, life
from bench.stand import Server, Stand

Section = Callable[[Stand, Plan, Report], None]

COMMANDS = 6_600
"""Commands per second, which are 10 050 to 10 120 events."""
LASTED = timedelta(hours=2)
"""The time before now at which lives begin: longer than any life, so that none ends in the future."""
LEAST_SECONDS = 20.0
LOOKS = 20
POSITIONS = """SELECT (SELECT position FROM executions.head), view, position
    FROM executions.bookmarks"""


class Lags:
    """The positions of the log over time, and the lags of the views."""

    def __init__(self) -> None:
        self.over = False
        self.behind: dict[str, list[float]] = {}
        self._times: list[float] = []
        self._heads: list[int] = []

    @property
    def events(self) -> int:
        return self._heads[-1] - self._heads[0]

    @property
    def rate(self) -> float:
        return self.events / (self._times[-1] - self._times[0])

    def look(self, now: float, rows: Sequence[tuple[int, str, int]]) -> None:
        head = rows[0][0]
        if not self._heads or head > self._heads[-1]:
            self._times.append(now)
            self._heads.append(head)
        for _, view, position in rows:
            following = bisect_right(self._heads, position)
            late = now - self._times[following] if following < len(self._heads) else 0.0
            self.behind.setdefault(view, []).append(late)

    def farthest(self, half: slice) -> float:
        """Return the largest lag of any view in a half of the time, in seconds."""
        return max(max(each[half], default=0.0) for each in self.behind.values())

    @property
    def halves(self) -> tuple[slice, slice]:
        middle = min(map(len, self.behind.values())) // 2
        return slice(middle), slice(middle, None)


def section(beside: Path | None) -> Section:
    """Return the section; with `beside`, the service of another checkout is measured after this one."""

    def measure(stand: Stand, plan: Plan, report: Report) -> None:
        for name, checkout in (("service", None), ("beside", beside)):
            if name == "beside" and checkout is None:
                continue
            conninfo = stand.database(f"lag_{name}")
            server = stand.serve(conninfo, checkout=checkout)
            report.add(
                f"Views behind the log, {name}", _measurements(stand, plan, conninfo, server)
            )
            stand.stop(server)

    return measure


def _measurements(stand: Stand, plan: Plan, conninfo: str, server: Server) -> list[Measurement]:
    service, seconds = Service(server.port, stand.token), max(plan.seconds, LEAST_SECONDS)
    uvloop.run(service.prepare())
    meter = Meter(server=server.pid, PostgreSQL=stand.postgres_pid)
    lags = uvloop.run(_write(service, conninfo, seconds))
    costs = meter.costs().per(lags.events)
    first, second = lags.halves
    target = Target("≤", 2)
    return [
        Measurement("events written", "/s", [lags.rate], Target("≥", 10_000), costs),
        Measurement("farthest behind, first half", "s", [lags.farthest(first)], target),
        Measurement("farthest behind, second half", "s", [lags.farthest(second)], target),
    ]


async def _write(service: Service, conninfo: str, seconds: float) -> Lags:
    lags, begin = Lags(), time.perf_counter()
    calls = _calls(begin, begin + seconds)
    watching = asyncio.create_task(_watch(conninfo, lags))
    try:
        await asyncio.gather(*(_send(service, calls) for _ in range(CALLS_AT_ONCE)))
    finally:
        lags.over = True
        await watching
    return lags


def _calls(begin: float, end: float) -> Iterator[tuple[float, list[Item]]]:
    """Yield each call with the time at which it is due and its commands."""
    numbers, due, part = count(), begin, list[dict[str, Any]]()
    while max(due, time.perf_counter()) < end:
        part += life(next(numbers), datetime.now(UTC) - LASTED)
        if len(part) >= A_CALL:
            yield due, part
            due += len(part) / COMMANDS
            part = []


async def _send(service: Service, calls: Iterator[tuple[float, list[Item]]]) -> None:
    async with service.connect() as connection:
        for due, part in calls:
            await asyncio.sleep(due - time.perf_counter())
            answer = await connection.call(service.request("POST", "/commands", part))
            check_all(answer.body, len(part))


async def _watch(conninfo: str, lags: Lags) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        while not lags.over:
            rows = await (await connection.execute(POSITIONS)).fetchall()
            lags.look(time.perf_counter(), rows)
            await asyncio.sleep(1 / LOOKS)
