"""One of several processes that write the same streams: `python -m tests.support.writer_process DATABASE NAME SECONDS`.

Prints `ready`, waits for a line, writes for this many seconds, and prints the answers.
"""

from __future__ import annotations

import asyncio
import sys
from time import monotonic

import orjson

from domain.writer.command_bus import Bus
from tests.support.acknowledged_writes import Acknowledged, acknowledged
from tests.support.sample_aggregate import Raise, message, running_bus, store

CALLERS = 32
TALLIES = 8


async def call(bus: Bus, name: str, caller: int, end: float) -> list[Acknowledged]:
    """One caller: raises the same tallies as all others, one after another."""
    answers: list[Acknowledged] = []
    while monotonic() < end:
        count = len(answers)
        label = f"{name}-{caller}-{count}"
        wish = message(str((caller + count) % TALLIES), Raise(amount=caller + 1), correlation=label)
        answers.append(acknowledged(label, await bus.send(wish)))
    return answers


async def write(database: str, name: str, seconds: float) -> list[Acknowledged]:
    async with running_bus(store(database)) as bus:
        print("ready", flush=True)  # noqa: T201 - the test reads it
        await asyncio.to_thread(sys.stdin.readline)
        end = monotonic() + seconds
        answers = await asyncio.gather(*(call(bus, name, n, end) for n in range(CALLERS)))
    return [answer for some in answers for answer in some]


if __name__ == "__main__":
    _, database, name, seconds = sys.argv
    answers = asyncio.run(write(database, name, float(seconds)))
    sys.stdout.buffer.write(orjson.dumps([tuple(answer) for answer in answers]))
