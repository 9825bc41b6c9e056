"""Checks that the content of every log line that is not archived can be opened."""

from __future__ import annotations

from collections.abc import AsyncIterator

from domain.eventlog.encryption import DamagedKey, DataKey, WrongKey
from domain.eventlog.store import Store
from domain.integrity.erased import find_erased
from domain.integrity.fault import Fault

PART = "log lines"
LINES_AT_ONCE = 1_000
NEXT = """SELECT id, 'execution/' || execution, sealed FROM log_lines WHERE id > %b
    ORDER BY id LIMIT %b"""


async def line_faults(store: Store) -> AsyncIterator[Fault | None]:
    """For each log line its fault, or None. Lines of erased executions have no fault, although they cannot be opened."""
    last = 0
    while True:
        async with store.reader() as connection:
            cursor = await connection.execute(NEXT, (last, LINES_AT_ONCE), binary=True)
            rows = await cursor.fetchall()
        if not rows:
            return
        keys = await store.keys({stream for _, stream, _ in rows})
        erased = await find_erased(store, (name for name, key in keys.items() if key is None))
        for id_, stream, sealed in rows:
            what = "" if stream in erased else _why_unopenable(keys[stream], sealed)
            yield Fault(PART, f"line {id_} of {stream}", what) if what else None
        last = rows[-1][0]


def _why_unopenable(key: DataKey | None, sealed: str) -> str:
    if isinstance(key, DamagedKey):  # reported as a fault of its own
        return ""
    if key is None:
        return "there is no data key that opens it"
    try:
        key.open(sealed)
    except WrongKey:
        return "its data key does not open it"
    return ""
