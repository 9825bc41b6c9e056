"""A bare client: `python -m bench.poster URL FILE` posts each text of a JSON list, over as many connections as the service."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpcore
import orjson

AT_ONCE = 32
HEADERS = [("content-type", "application/json")]


async def post(url: str, bodies: list[str]) -> None:
    """Post all bodies."""
    waiting = iter(bodies)

    async def some(pool: httpcore.AsyncConnectionPool) -> None:
        for body in waiting:
            content = body.encode()
            headers = [("host", "127.0.0.1"), ("content-length", str(len(content))), *HEADERS]
            await pool.request("POST", url, headers=headers, content=content)

    async with httpcore.AsyncConnectionPool(max_connections=AT_ONCE) as pool:
        await asyncio.gather(*(some(pool) for _ in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(post(sys.argv[1], orjson.loads(Path(sys.argv[2]).read_bytes())))
