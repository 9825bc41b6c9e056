"""Compares the rows of streams with archived events with the file that has the events: their positions and parties."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from domain.eventlog.access.parties import parties_in
from domain.eventlog.archive.blocks import positions_of
from domain.eventlog.codec import EventRow
from domain.eventlog.store import Store
from domain.integrity.fault import Fault

PART = "archive"
ROWS = """SELECT originator_id, first_version, last_version, positions, parties, first_position
    FROM event_archive_streams WHERE originator_id = ANY(%s)"""
IN_TABLE = "SELECT notification_id FROM events WHERE notification_id BETWEEN %s AND %s"

PositionByVersion = dict[int, int]
"""The position of each version."""


class Filed(NamedTuple):
    """The events of a stream in a file."""

    positions: PositionByVersion
    meta: str | None
    """The `meta` of its first event, if the file has that event."""


def positions_in_file(events: Iterable[EventRow]) -> dict[str, Filed]:
    """The events of a file by stream."""
    found: dict[str, Filed] = {}
    for row in events:
        stream = found.get(row.stream, Filed({}, None))
        stream.positions[row.version] = row.position
        found[row.stream] = stream._replace(meta=row.meta) if row.version == 1 else stream
    return found


async def find_position_faults(
    store: Store, first: int, last: int, streams: Mapping[str, Filed]
) -> list[Fault]:
    """The faults of the rows of the streams in a file with the positions from `first` to `last`."""
    async with store.reader() as connection:
        rows = await (await connection.execute(ROWS, (list(streams),))).fetchall()
        kept = await (await connection.execute(IN_TABLE, (first, last))).fetchall()
    in_table, by_stream = {position for (position,) in kept}, dict[str, list[Sequence[Any]]]()
    for stream, *row in rows:
        by_stream.setdefault(stream, []).append(row)
    found: list[Fault] = []
    for stream, of_file in streams.items():
        if fault := _fault(of_file, by_stream.get(stream, ()), in_table, (first, last)):
            found.append(Fault(PART, stream, fault))
    return found


def _fault(
    of_file: Filed, rows: Sequence[Sequence[Any]], in_table: set[int], bounds: tuple[int, int]
) -> str | None:
    by_version, parties = PositionByVersion(), None
    for first_version, last_version, positions, owner, first_position in rows:
        decoded = _decode_positions(positions)
        if len(decoded) != last_version - first_version + 1 or decoded[:1] != [first_position]:
            return "has other versions in the table of what is archived than positions"
        by_version |= dict(zip(range(first_version, last_version + 1), decoded, strict=True))
        parties = owner if first_version == 1 else parties
    inside = {v: at for v, at in by_version.items() if bounds[0] <= at <= bounds[1]}
    if inside != {v: at for v, at in of_file.positions.items() if at not in in_table}:
        return "is archived at other positions than the table says"
    if 1 in inside and parties != parties_in(of_file.meta):
        return "has other parties in the table than its first event says"
    return None


def _decode_positions(positions: bytes) -> list[int]:
    try:
        return positions_of(positions)
    except ValueError:
        return []
