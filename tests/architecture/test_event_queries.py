"""Past events may be in archive files: only the listed files may query the table of events directly."""

from __future__ import annotations

import re

from tests.support.paths import ROOT

READS = re.compile(r"\b(FROM|JOIN) events\b")
ROOM = "domain/eventlog/"
"""It reads both: `archive/archived_queries.py`."""
IN_THE_TABLE = {
    "projections/audit/access/anchors.py": "a stream that never leaves the table",
    "projections/audit/access/retired.py": "a stream that never leaves the table",
    "projections/claims/queue.py": "the last events of executions that go on",
    "projections/log_lines/archive/holds.py": "holds never leave the table",
    "workers/erasures.py": "orders never leave the table",
    "workers/jobs.py": "events after a job, which have not left the table",
    "workers/event_archive/conditions.py": "asks which events may leave the table",
}
BOTH = {
    "domain/integrity/erased.py",
    "domain/integrity/event_files.py",
    "domain/integrity/event_positions.py",
    "domain/integrity/keys.py",
    "domain/integrity/log.py",
    "domain/integrity/snapshots.py",
    "projections/audit/access/pages.py",
    "projections/audit/check.py",
    "projections/audit/rounds/page_check.py",
    "projections/audit/tables.py",
    "projections/deliveries/owed_queries.py",
    "projections/deliveries/queue_queries.py",
    "projections/deliveries/totals.py",
    "projections/log_lines/archive/holds_on.py",
}
"""It is given to `archive/archived_queries.py`, or the archive is read as well."""


def test_table_of_events_is_queried_only_where_archived_events_are_considered() -> None:
    files = (
        path.relative_to(ROOT).as_posix()
        for room in ("domain", "projections", "workers", "api")
        for path in (ROOT / room).rglob("*.py")
        if READS.search(path.read_text())
    )
    asking = {file for file in files if not file.startswith(ROOM)}
    assert asking == IN_THE_TABLE.keys() | BOTH
