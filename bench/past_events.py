"""Measures the size of old events in files of the archive, and the time to read them from there.

    python -m bench.past_events EVENTS [sealed] [URL]

Executions have 20 events each, and 256 executions are active at a time. An event has 240 bytes of JSON with different
words and numbers; with `sealed`, half of it is ciphertext. The archive is a folder, or the empty bucket of a URL. Prints
one JSON object. The libraries of the extra `archive` are needed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import psycopg

from api.clock import Clock
from api.embedded_postgres.server import EmbeddedPostgres
from bench.client import percentile
from bench.growth import A_BATCH, SCHEMA, _rows
from domain import registry
from domain.eventlog.archive import reader
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import Vault
from domain.eventlog.keyring import Keyring
from domain.eventlog.migrations import migrate_log
from domain.eventlog.sessions import session_options
from domain.eventlog.store import Store
from domain.writer.guarded_writer import GuardedWriter
from projections import preparation
from projections.history.time_travel import History
from workers.archiver import LineRetention
from workers.event_archive.archiver import EventArchiver
from workers.tree_builder import TreeBuilder

READS = 400
PAGE = 1_000
PAYLOAD = 240
WORDS = [
    "lead",
    "research",
    "mail",
    "draft",
    "review",
    "send",
    "wait",
    "order",
    "page",
    "result",
    "customer",
    "price",
    "note",
]
SIZES = """SELECT pg_total_relation_size('events'), pg_total_relation_size('event_archive_streams')
    + pg_total_relation_size('event_archives')"""


def payload(chance: random.Random, version: int, *, sealed: bool) -> bytes:
    """Return 240 bytes of JSON, like those of a completed step."""
    output: Any = {"found": chance.randrange(10_000), "score": round(chance.random(), 4)}
    if sealed:
        ciphertext = urlsafe_b64encode(chance.randbytes(PAYLOAD * 3 // 8)).decode()
        output = {"$sealed": f"{version}.{ciphertext}"}
    event = {"step": f"step-{chance.randrange(40)}", "output": output, "note": ""}
    room = PAYLOAD - len(orjson.dumps(event))
    words = iter(lambda: chance.choice(WORDS), None)
    note = ""
    while len(note) < room:
        note += f"{next(words)} "
    return orjson.dumps({**event, "note": note[:room]})


async def append(store: Store, events: int, *, sealed: bool) -> list[str]:
    """Append so many events; return the streams of the executions that have ended."""
    chance = random.Random(7)  # noqa: S311 - the same each time
    rows: Iterable[EventRow] = (
        row._replace(data=payload(chance, row.version, sealed=sealed))
        for row in islice(_rows(store), events)
    )
    rows, ended = iter(rows), list[str]()
    while batch := list(islice(rows, A_BATCH)):
        ended += [row.stream for row in batch if row.version == 20]
        async with store.transaction() as transaction:
            await transaction.append(batch, [], batch[-1].at)
    return ended


async def read_pages(store: Store, streams: list[str], *, fresh: bool) -> list[float]:
    """Return the milliseconds that pages of histories take; with `fresh`, the cache of archived blocks is emptied before
    each.
    """
    history, taken = History(store), []
    for stream in streams:
        if fresh:
            reader.BLOCK_CACHE = reader._BlockCache()  # noqa: SLF001 - an empty cache, as in a new process
        began = time.perf_counter()
        page = await history.events(stream)
        assert page.envelopes
        taken.append((time.perf_counter() - began) * 1_000)
    return taken


async def catch_up(store: Store, until: int) -> float:
    """Read the log from its beginning to a position; return the events per second."""
    began, after = time.perf_counter(), 0
    while after < until:
        after = (await store.read(after, PAGE))[-1].position
    return round(after / (time.perf_counter() - began))


async def measure(
    conninfo: str, url: str, folder: Path, events: int, *, sealed: bool
) -> dict[str, Any]:
    """Append events, measure reads, archive the events, and measure reads again."""
    migrate_log(conninfo, SCHEMA)
    preparation.migrate(conninfo, SCHEMA)
    store = Store(conninfo, SCHEMA, registry.codec(), Keyring(Vault(os.urandom(32))))
    await store.open()
    ended = await append(store, events, sealed=sealed)
    options = session_options(SCHEMA)
    with psycopg.connect(conninfo, autocommit=True, options=options) as connection:
        connection.execute("VACUUM ANALYZE events")
        [(hot, _)] = connection.execute(SIZES).fetchall()
        for table in ("bookmarks", "webhook_head"):
            query = f"UPDATE {table} SET position = (SELECT position FROM head)"  # noqa: S608
            connection.execute(query.encode())
    chance = random.Random(3)  # noqa: S311 - the same each time
    streams = chance.choices(ended[: len(ended) * 3 // 4], k=READS)
    found: dict[str, Any] = {"events": events, "hot bytes an event": round(hot / events, 1)}
    found["hot page"] = percentiles(await read_pages(store, streams, fresh=True))
    found["hot events/s"] = await catch_up(store, events * 3 // 4)
    found |= await archive(conninfo, url, folder, store)
    found["cold page, nothing at hand"] = percentiles(await read_pages(store, streams, fresh=True))
    found["cold page"] = percentiles(await read_pages(store, streams, fresh=False))
    found["cold events/s"] = await catch_up(store, events * 3 // 4)
    await store.close()
    return found


async def archive(conninfo: str, url: str, folder: Path, store: Store) -> dict[str, Any]:
    """Archive all events that may be archived; return sizes and times."""
    async with await psycopg.AsyncConnection.connect(
        conninfo, autocommit=True, options=session_options(SCHEMA)
    ) as connection:
        builder = TreeBuilder(conninfo, SCHEMA, b"k" * 32, lambda: datetime.now(UTC))
        while await builder.grow(connection):
            pass
        later = datetime.now(UTC) + timedelta(days=400)
        retention = LineRetention(url, 30, folder, event_days=365)
        writer = GuardedWriter(store, Clock(), str, random.random)
        archiver = EventArchiver(writer, store, conninfo, retention, clock=lambda: later)
        began = time.perf_counter()
        reports = [r for r in await archiver.archive() if r.outcome == "archived"]
        seconds = time.perf_counter() - began
        await connection.execute("VACUUM FULL events")
        [(left, index)] = await (await connection.execute(SIZES)).fetchall()
    ranged, taken = reports[-1].last, sum(report.taken for report in reports)
    return {
        "ranges": len(reports),
        "left the table": taken,
        "seconds a range": round(seconds / len(reports), 2),
        "bytes an event in files": round(sum(r.bytes for r in reports) / ranged, 1),
        "bytes an event of the index": round(index / taken, 1),
        "MiB left in the table": round(left / 2**20, 1),
    }


def percentiles(taken: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of times in milliseconds."""
    return {f"p{share}": round(percentile(sorted(taken), share / 100), 2) for share in (50, 99)}


def main() -> None:
    """Measure on a PostgreSQL of its own."""
    events, sealed = int(sys.argv[1]), "sealed" in sys.argv[2:]
    urls = [given for given in sys.argv[2:] if "://" in given]
    with tempfile.TemporaryDirectory() as folder:
        folder_path = Path(folder)
        folder_path.chmod(0o711)
        with EmbeddedPostgres(folder_path / "data") as server:
            url = urls[0] if urls else (folder_path / "archive").as_uri()
            found = asyncio.run(measure(server.conninfo(), url, folder_path, events, sealed=sealed))
    print(json.dumps(found, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
