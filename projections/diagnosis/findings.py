"""Finds faults in the measurements of a log, by a table of rules, each with its advice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from projections.diagnosis.measurements import Measurements

Severity = Literal["damaged", "late", "large", "slow"]
LATE = 10_000
"""Events that a projection may be behind without a finding."""
GIB = 1024**3
LEAST_FREE = 2 * GIB
"""Bytes that the disk of the data directory should have free."""
MANY_ROWS = 10_000
"""Rows below which tables are too small for a finding."""
DEAD_SHARE = 0.4
"""Dead rows that a table may have for each live row."""
LONG_TRANSACTION = 300.0
"""Seconds that a transaction may be open."""
NEARLY_WRAPPED = 1_500_000_000
"""The age of the oldest transaction id that gives a finding; PostgreSQL stops at about two thousand million."""
EVENT_BYTES = 1_500
"""Bytes of an average event, without indexes, that give a finding."""
MANY_EVENTS = 1_000_000
"""Events below which an index with much empty space is not worth rebuilding."""
SPARSE = 1.4
"""The size of the index of events by stream, relative to a new index, that gives a finding."""
LONG_WAIT = 60.0
"""Seconds that an event may wait for a webhook."""


class Finding(NamedTuple):
    """A fault: its severity, a description, and the advice for it."""

    severity: Severity
    what: str
    advice: str


Rule = Callable[[Measurements], Iterator[Finding]]


def findings(measured: Measurements) -> list[Finding]:
    """Return the findings of all rules, in the order of the rules: damage first."""
    return [found for rule in RULES for found in rule(measured)]


def _checksums(measured: Measurements) -> Iterator[Finding]:
    if failures := measured.server.checksum_failures:
        yield Finding(
            "damaged",
            f"PostgreSQL has counted {failures} pages whose checksum is wrong",
            "replace the disk, restore a backup, then run `executions verify`",
        )


def _durability(measured: Measurements) -> Iterator[Finding]:
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        if measured.settings.get(name) == "off":
            yield Finding(
                "damaged",
                f"{name} is off: a crash may lose events that were acknowledged",
                f"set {name} = on and reload PostgreSQL",
            )


def _positions(measured: Measurements) -> Iterator[Finding]:
    for view in measured.views:
        if view.position > measured.head:
            yield Finding(
                "damaged",
                f"{view.name} is at {view.position}, ahead of the log, which is at {measured.head}",
                f"run `executions rebuild {view.name}`; was a backup restored?",
            )


def _find_parked(measured: Measurements) -> Iterator[Finding]:
    for view in measured.views:
        if view.parked:
            yield Finding(
                "damaged",
                f"{view.name} could not apply {view.parked} events, and went on without them",
                "read the table `parked` for the reasons; after an upgrade that knows them run "
                f"`executions rebuild {view.name}`",
            )


def _lag(measured: Measurements) -> Iterator[Finding]:
    for view in measured.views:
        if (lag := measured.head - view.position) > LATE:
            yield Finding(
                "late",
                f"{view.name} is {lag} events behind",
                "see whether a server runs that follows the log, and what keeps it: `/readyz`, its log",
            )


def _timers(measured: Measurements) -> Iterator[Finding]:
    count, seconds = measured.overdue
    if count:
        timers = "timer is" if count == 1 else "timers are"
        yield Finding(
            "late",
            f"{count} {timers} overdue, the first for {seconds / 60:.0f} minutes: retries and timeouts wait",
            "see whether a work process runs (`executions serve` without --no-work, or `executions work`) "
            "and what its log says",
        )


def _webhooks(measured: Measurements) -> Iterator[Finding]:
    calls = measured.webhooks
    if calls.failing:
        some = "webhook fail" if calls.failing == 1 else "webhooks fail"
        yield Finding(
            "late",
            f"calls of {calls.failing} {some}",
            "see `executions webhooks` for which, and for what was answered",
        )
    if calls.oldest > LONG_WAIT:
        events = "event waits" if calls.waiting == 1 else "events wait"
        yield Finding(
            "late",
            f"{calls.waiting} {events} for webhooks, the oldest for {calls.oldest:.0f} s",
            "see `executions webhooks`: a receiver is slow or away, or no process calls webhooks",
        )


def _audit(measured: Measurements) -> Iterator[Finding]:
    if faults := measured.audit_faults:
        yield Finding(
            "damaged",
            f"the auditor has found {faults} places where what is stored does not fit",
            "see the events `audit.fault.found`, and run `executions verify` and `executions audit verify`",
        )


def _archive(measured: Measurements) -> Iterator[Finding]:
    if files := measured.archive_missing:
        count = "1 archive file is" if len(files) == 1 else f"{len(files)} archive files are"
        yield Finding(
            "damaged",
            f"{count} missing or cut short, {files[0]} first: what it has cannot be read",
            "see that EXECUTIONS_ARCHIVE_URL is the server's, bring the files back from a backup, then "
            "run `executions verify`",
        )


def _transactions(measured: Measurements) -> Iterator[Finding]:
    server = measured.server
    if server.oldest_transaction > LONG_TRANSACTION:
        yield Finding(
            "late",
            f"a transaction has been open for {server.oldest_transaction / 60:.0f} minutes: until it "
            "ends, nothing can be cleaned up, and migrations wait",
            "find it in pg_stat_activity (by xact_start) and end it",
        )
    if server.transaction_age > NEARLY_WRAPPED:
        yield Finding(
            "late",
            f"the oldest transaction id is {server.transaction_age} old; at 2 000 000 000 PostgreSQL stops",
            "let VACUUM FREEZE run now, and see why autovacuum could not",
        )
    if measured.settings.get("autovacuum") == "off":
        yield Finding("late", "autovacuum is off", "set autovacuum = on and reload PostgreSQL")


def _locks(measured: Measurements) -> Iterator[Finding]:
    if waiting := measured.server.waiting_locks:
        yield Finding(
            "slow",
            f"{waiting} requests for locks wait",
            "if it stays so: who holds them is in pg_locks and pg_blocking_pids()",
        )


def _connections(measured: Measurements) -> Iterator[Finding]:
    most = int(measured.settings.get("max_connections", "100"))
    if measured.server.connections > 0.8 * most:
        yield Finding(
            "slow",
            f"{measured.server.connections} of {most} connections are taken",
            "lower EXECUTIONS_DATABASE_CONNECTIONS, or raise max_connections",
        )


def _disk(measured: Measurements) -> Iterator[Finding]:
    if measured.disk_free is not None and measured.disk_free < LEAST_FREE:
        yield Finding(
            "large",
            f"the disk of the data directory has {measured.disk_free / GIB:.1f} GiB left",
            "make room before it is full: then no command can be recorded",
        )
    if slots := measured.server.idle_slots:
        yield Finding(
            "large",
            f"{slots} replication slots are not in use: PostgreSQL keeps all WAL for them",
            "drop those that are not needed any more: pg_drop_replication_slot()",
        )


def _dead_rows(measured: Measurements) -> Iterator[Finding]:
    for table in measured.tables:
        if table.rows > MANY_ROWS and table.dead > DEAD_SHARE * table.rows:
            yield Finding(
                "large",
                f"{table.name} has {table.dead} dead rows beside {table.rows} living ones",
                f"see what holds up autovacuum; VACUUM {table.name} helps at once",
            )


def _event_size(measured: Measurements) -> Iterator[Finding]:
    size = measured.table("events").rows_bytes
    if measured.head > MANY_ROWS and size > EVENT_BYTES * measured.head:
        yield Finding(
            "large",
            f"an event takes {size // measured.head} bytes on average, without indexes",
            "large content is better kept elsewhere and named here",
        )


def _sparse_key(measured: Measurements) -> Iterator[Finding]:
    if measured.head <= MANY_EVENTS or not measured.key.name_bytes:
        return
    # An index entry: a header of 8 bytes, the name padded to eight bytes, a version of 8, a line pointer of 4. Pages are
    # filled to nine tenths.
    entry = 8 + -(-measured.key.name_bytes // 8) * 8 + 8 + 4
    dense = round(entry / 0.9 * measured.head)
    if measured.key.bytes > SPARSE * dense:
        yield Finding(
            "large",
            f"the index of the events by stream takes {measured.key.bytes / GIB:.1f} GiB, and made again "
            f"{dense / GIB:.1f}: streams grow side by side, which leaves its pages half empty",
            "in a calm hour, as the owner: REINDEX INDEX CONCURRENTLY events_pkey (in the schema of the log)",
        )


def _replies(measured: Measurements) -> Iterator[Finding]:
    if measured.expired_replies > MANY_ROWS:
        yield Finding(
            "large",
            f"{measured.expired_replies} answers under idempotency keys are kept beyond their day",
            "a running server forgets them once an hour: does one run?",
        )


RULES: Sequence[Rule] = (
    _checksums,
    _durability,
    _positions,
    _find_parked,
    _audit,
    _lag,
    _archive,
    _timers,
    _webhooks,
    _transactions,
    _locks,
    _connections,
    _disk,
    _dead_rows,
    _event_size,
    _sparse_key,
    _replies,
)
