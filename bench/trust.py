"""Measures how fast the tree grows and the log is checked, and the time of a proof among many leaves.

The builder reads the rows of an existing log and writes tiles and signed heads, as the work process does. Its limit is
PostgreSQL computing only the hashes of the same rows, in pages of the same size. For proofs among millions of leaves, the
tree is made of arbitrary hashes, without a log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from hashlib import sha256
from random import Random

import httpx
import psycopg
import uvloop
from psycopg import AsyncConnection

from bench.client import percentile
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.stand import Stand
from bench.tokens import tokens
from domain.eventlog.sessions import session_options
from domain.eventlog.setup.log_id import log_id
from projections.audit.check import connect, head_faults, start, tree_faults
from projections.audit.note import Signer, TreeCheckpoint, origin_of
from projections.audit.tables import STORE_HEAD, hashes_after, store_tiles
from projections.audit.tiles import Tree
from projections.preparation import migrate
from workers.tree_builder import PAGE, TreeBuilder

SCHEMA = "executions"
SECRET = b"b" * 32
EVENTS, LEAVES, PROOFS = 400_000, 10_000_000, 2_000
STEP = 256 * 256
INCLUSION = "/audit/inclusion"
FILL = """INSERT INTO events SELECT n, (n - 1) %% 10 + 1, now(), 'execution/exec_' || (n - 1) / 10,
    'execution.step.completed', '{"by":"worker-7","correlation":"c-' || n || '"}',
    convert_to('{"step":"s-' || n || '","output":{"$sealed":"' || repeat(md5(n::text), 8) || '"}}', 'UTF8')
    FROM generate_series(1, %s) AS n"""
MOVE = "UPDATE head SET position = %s, at = now()"


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure the verification of tokens, the tree of a log, and proofs in a large tree."""
    report.add("Whose a token is", tokens(plan))
    report.add("The tree of a log", _growth(stand, plan))
    report.add("Proofs in a large tree", _proofs(stand, plan))


def _growth(stand: Stand, plan: Plan) -> list[Measurement]:
    amount = plan.count(EVENTS)
    hashed, built, checked = list[float](), list[float](), list[float]()
    for turn in range(plan.repetitions):
        conninfo = stand.database(f"trust_{turn}")
        migrate(conninfo, SCHEMA)
        with psycopg.connect(conninfo, options=session_options(SCHEMA)) as connection:
            connection.execute(FILL, (amount,))
            connection.execute(MOVE, (amount,))
        stand.checkpoint()
        uvloop.run(_time(conninfo, amount, _hash))  # what follows finds the rows in memory
        for seconds, work in ((hashed, _hash), (built, _build), (checked, _check)):
            seconds.append(uvloop.run(_time(conninfo, amount, work)))
    rates = {
        name: [amount / each for each in seconds]
        for name, seconds in (("hashed", hashed), ("built", built), ("checked", checked))
    }
    ratios = [one / other for one, other in zip(rates["built"], rates["hashed"], strict=True)]
    return [
        Measurement(
            "limit: hashes alone, by PostgreSQL",
            "events/s",
            rates["hashed"],
            None,
            f"{amount} events",
        ),
        Measurement(
            "tree built, tiles and heads committed", "events/s", rates["built"], Target("≥", 20_000)
        ),
        Measurement("of the limit", "", ratios),
        Measurement(
            "whole log checked against the tree", "events/s", rates["checked"], Target("≥", 100_000)
        ),
    ]


Work = Callable[[AsyncConnection, str, int], Awaitable[None]]


async def _time(conninfo: str, amount: int, work: Work) -> float:
    async with connect(conninfo, SCHEMA) as connection:
        begun = time.perf_counter()
        await work(connection, conninfo, amount)
        return time.perf_counter() - begun


async def _hash(connection: AsyncConnection, _: str, amount: int) -> None:
    for after in range(0, amount, PAGE):
        await hashes_after(connection, after, amount, PAGE)


async def _build(connection: AsyncConnection, conninfo: str, _: int) -> None:
    builder = TreeBuilder(conninfo, SCHEMA, SECRET, lambda: datetime.now(UTC))
    while await builder.grow(connection):
        pass


async def _check(connection: AsyncConnection, _: str, __: int) -> None:
    found = await start(connection)
    faults = [fault async for fault in tree_faults(connection, found, lambda *_: None)]
    if faults or list(head_faults(found, None)):
        raise RuntimeError(f"the tree does not hold: {faults[:3]}")


def _proofs(stand: Stand, plan: Plan) -> list[Measurement]:
    amount = plan.count(LEAVES)
    conninfo = stand.database("trust_proofs")
    migrate(conninfo, SCHEMA)
    uvloop.run(_plant(conninfo, amount))
    stand.checkpoint()
    server = stand.serve(conninfo, "--no-work")
    chance, largest, paths = Random(1), 0, 0  # noqa: S311 - which leaf is no secret
    latencies: dict[str, list[float]] = {"/healthz": [], "/audit/tree-head": [], INCLUSION: []}
    headers = {"Authorization": f"Bearer {stand.token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}/api", headers=headers) as api:
        for _ in range(plan.count(PROOFS)):
            query = {"position": chance.randint(1, amount)}
            for (
                path,
                taken,
            ) in latencies.items():  # in turn, so that what else runs hits all of them
                begun = time.perf_counter()
                answer = api.get(path, params=query if path == INCLUSION else None)
                taken.append(1_000 * (time.perf_counter() - begun))
            paths = max(paths, 32 * len(json.loads(answer.content)["path"]))
            largest = max(largest, len(answer.content))
    stand.stop(server)
    alive, head, proof = map(sorted, latencies.values())
    note = f"{amount} leaves, one request at a time over HTTP"
    return [
        Measurement(
            "limit: a request without a query, p50", "ms", [percentile(alive, 0.5)], None, note
        ),
        Measurement("limit: the same, p99", "ms", [percentile(alive, 0.99)]),
        Measurement("signed head, p50", "ms", [percentile(head, 0.5)]),
        Measurement("signed head, p99", "ms", [percentile(head, 0.99)]),
        Measurement("inclusion proof, p50", "ms", [percentile(proof, 0.5)]),
        Measurement("inclusion proof, p99", "ms", [percentile(proof, 0.99)], Target("≤", 5)),
        Measurement(
            "of the signed head, p50", "", [percentile(proof, 0.5) / percentile(head, 0.5)]
        ),
        Measurement(
            "of the signed head, p99", "", [percentile(proof, 0.99) / percentile(head, 0.99)]
        ),
        Measurement("hashes of its path", "bytes", [paths], Target("≤", 1_024)),
        Measurement("its answer, as JSON in hexadecimal", "bytes", [largest]),
    ]


async def _plant(conninfo: str, amount: int) -> None:
    """Store a tree of arbitrary leaves, with a signed head."""
    tree, signer = Tree(), Signer(SECRET, origin_of(log_id(conninfo, SCHEMA)))
    async with connect(conninfo, SCHEMA) as connection:
        while tree.size < amount:
            more = min(STEP, amount - tree.size)
            hashes = [sha256(n.to_bytes(8)).digest() for n in range(tree.size, tree.size + more)]
            await store_tiles(connection, tree.append(hashes))
        note = signer.sign(TreeCheckpoint(signer.origin, tree.size, tree.root()).text)
        head = (tree.size, tree.root(), signer.origin, signer.public_key, note, datetime.now(UTC))
        await connection.execute(STORE_HEAD, head)
