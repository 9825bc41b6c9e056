"""Measures log lines: how fast they are appended, read among millions of others, and archived.

Lines are appended over HTTP by 64 connections, in batches and one by one, in turns with a bare echo that gets the same
requests. Then the lines of one past day are filled in by COPY, and the last 100 lines of single executions are read. At
the end `executions archive` archives that day, beside a plain COPY of the same lines out of the table. The table is
vacuumed before, as that of a past day would be: otherwise the first reader would mark the rows as committed, which writes
to the WAL. Sealed content is random and cannot be compressed, so only the bytes of a line beside it are counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import repeat
from random import Random
from typing import Any

import psycopg
import uvloop

from api.embedded_postgres.data_dir import DataDir
from bench.client import Load
from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.population import Service
from bench.stand import Server, Stand
from bench.write import load_measurements, run
from domain.eventlog.encryption import DataKey, Vault

AMONG = 10_000_000
"""Lines in the table."""
EXECUTIONS = 2_000
A_BATCH, CONNECTIONS = 100, 64
MESSAGE = "Wrote the e-mail to the next lead of the campaign, as it was asked for"
PAST = timedelta(days=40)
DAY = 86_400_000
"""The milliseconds of a day."""
STARTED = "with the start of the program"
KEY = "SELECT wrapped FROM data_keys WHERE originator_id = %s"
FILL = "COPY log_lines (execution, occurred_at, id, at, level, step, sealed) FROM STDIN"
PLAIN = "COPY (SELECT * FROM log_lines ORDER BY id) TO STDOUT"
ARCHIVED = "SELECT sum(lines)::bigint, sum(bytes)::bigint FROM log_archives"


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure appends, reads and the archive, on one log."""
    conninfo = stand.database("log_lines")
    server = stand.serve(conninfo)
    service = Service(server.port, stand.token)
    uvloop.run(service.prepare())
    measurements = _measure_appends(stand, plan, service, server)
    report.add(f"Log lines appended, {CONNECTIONS} connections", measurements)
    names = uvloop.run(service.running("many", EXECUTIONS))
    table = LinesTable(conninfo, Vault(DataDir(stand.folder / "service").master_key()))
    lines = plan.count(AMONG)
    sealed = table.fill(names, lines)
    stand.checkpoint()
    loads = [
        run(stand, plan, [(server.port, _reads(service, names))], [server])
        for _ in range(plan.repetitions)
    ]
    title = f"The last 100 lines of one execution among {lines}"
    report.add(title, load_measurements("GET …/logs", loads, None, Target("≤", 10)))
    report.add(f"{lines} lines of a day archived", _measure_archive(stand, table, lines, sealed))
    stand.stop(server)


def _measure_appends(
    stand: Stand, plan: Plan, service: Service, server: Server
) -> list[Measurement]:
    names = uvloop.run(service.running("lines", CONNECTIONS))
    echo = stand.echo(b'{"appended": 1}')
    loads: dict[str, list[tuple[Load, str]]] = {"batches": [], "single": [], "echo": []}
    for _ in range(plan.repetitions):
        for name, target, size in (
            ("batches", server, A_BATCH),
            ("echo", echo, 1),
            ("single", server, 1),
        ):
            each = [(target.port, _appends(service, execution, size)) for execution in names]
            loads[name].append(run(stand, plan, each, [target]))
    stand.stop(echo)
    batches = [load.rate * A_BATCH for load, _ in loads["batches"]]
    costs = f"of a batch: {loads['batches'][-1][1]}"
    pairs = zip(loads["single"], loads["echo"], strict=True)
    ratios = [100 * one.rate / bare.rate for (one, _), (bare, _) in pairs]
    return [
        Measurement(f"in batches of {A_BATCH}", "lines/s", batches, Target("≥", 40_000), costs),
        *load_measurements("one by one", loads["single"], Target("≥", 3_000), Target("≤", 40)),
        Measurement("one by one : bare echo", "%", ratios),
    ]


def _appends(service: Service, execution: str, size: int) -> Iterator[bytes]:
    line = {"level": "info", "message": MESSAGE}
    body: Any = line if size == 1 else [line] * size
    return repeat(service.request("POST", f"/executions/{execution}/logs", body))


def _reads(service: Service, names: list[str]) -> Iterator[bytes]:
    draw = Random(3)  # noqa: S311 - which one is read is no secret
    while True:
        path = f"/executions/{draw.choice(names)}/logs?order=desc&limit=100"
        yield service.request("GET", path)


class LinesTable:
    """The table of log lines, and the vault that seals their content."""

    def __init__(self, conninfo: str, vault: Vault) -> None:
        self.conninfo = conninfo
        self._vault = vault

    def fill(self, names: list[str], lines: int) -> int:
        """Fill in the lines of a past day, of executions in random order; return the bytes of their content."""
        begin = datetime.combine((datetime.now(UTC) - PAST).date(), datetime.min.time(), UTC)
        content = f'{{"message":"{MESSAGE}","context":null}}'.encode()
        draw, sealed = Random(3), 0  # noqa: S311 - which has which line is no secret
        with self.connect() as connection:
            keys = [self._key(connection, name) for name in names]
            [(last,)] = connection.execute("SELECT id FROM log_head").fetchall()
            connection.execute("SELECT make_log_day(%s)", (begin.date(),))
            with connection.cursor() as cursor, cursor.copy(FILL) as copy:
                for number in range(lines):
                    which = draw.randrange(len(names))
                    token = keys[which].seal(content, 0)
                    sealed += (len(token) - 2) * 3 // 4
                    at = begin + timedelta(milliseconds=number * DAY // lines)
                    when = at - timedelta(milliseconds=draw.randrange(100))
                    line = (names[which], when, last + 1 + number, at, "info", None, token)
                    copy.write_row(line)
            connection.execute("UPDATE log_head SET id = id + %s", (lines,))
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) executions.log_lines")
        return sealed

    def copy(self) -> float:
        """Read all lines with a plain COPY, in the order of their ids; return the seconds that it took."""
        begin = time.perf_counter()
        with (
            self.connect() as connection,
            connection.cursor() as cursor,
            cursor.copy(PLAIN) as copy,
        ):
            for _ in copy:
                pass
        return time.perf_counter() - begin

    def count_archived(self) -> tuple[int, int]:
        """Return the number of archived lines, and the bytes of their files."""
        with self.connect() as connection:
            [(lines, size)] = connection.execute(ARCHIVED).fetchall()
        return lines or 0, size or 0

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.conninfo, options="-c search_path=executions -c timezone=UTC")

    def _key(self, connection: psycopg.Connection[Any], name: str) -> DataKey:
        stream = f"execution/{name}"
        [(wrapped,)] = connection.execute(KEY, (stream,)).fetchall()
        return self._vault.unwrap(wrapped, stream)


def _measure_archive(stand: Stand, table: LinesTable, lines: int, sealed: int) -> list[Measurement]:
    plain = table.copy()
    seconds = stand.run(table.conninfo, "archive")
    moved, size = table.count_archived()
    if moved != lines:
        raise RuntimeError(f"{moved} lines of {lines} were archived")
    whole = f"{size / lines:.0f} bytes with its content, of which {sealed / lines:.0f} are sealed"
    return [
        Measurement("archived", "lines/s", [lines / seconds], Target("≥", 200_000), STARTED),
        Measurement("archived : plain COPY out", "%", [100 * plain / seconds]),
        Measurement(
            "a line beside its content", "bytes", [(size - sealed) / lines], Target("≤", 12), whole
        ),
    ]
