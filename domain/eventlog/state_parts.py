"""What a state is made of, as the rows of one query: a snapshot, the events after it, a data key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from domain.eventlog.codec import Stored
from domain.eventlog.pg_arrays import Array, array
from domain.eventlog.snapshots import Snapshot

Part = tuple[Any, ...]
"""A row with the columns of an event; a snapshot has no type, nor has a wrapped key, of version 0."""
VERSION, STREAM, TYPE, DATA = 1, 3, 4, 6
BY_VERSION = itemgetter(VERSION)


def wanted(
    streams: Iterable[str], locked: Iterable[str], *numbers: Iterable[int]
) -> tuple[Array, ...]:
    """The columns of a question: streams, numbers of each, and whether its key is wanted."""
    streams, without_key = list(streams), set(locked)
    return (
        array("text", streams),
        *(array("bigint", list(column)) for column in numbers),
        array("boolean", [stream in without_key for stream in streams]),
    )


def by_stream(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """The parts of each stream, in their order."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part[STREAM], []).append(part)
    return found


def wrapped_keys(
    parts: Mapping[str, Sequence[Part]], streams: Iterable[str]
) -> list[tuple[str, bytes]]:
    """The keys among the parts, which come before all others, with their streams."""
    firsts = ((stream, parts[stream][0]) for stream in streams if parts.get(stream))
    return [(stream, part[DATA]) for stream, part in firsts if part[VERSION] == 0]


def event(part: Part) -> Stored | None:
    """The row of an event, if it is one."""
    return None if part[TYPE] is None else Stored(*part)


def snapshot(part: Part) -> Snapshot | None:
    """The snapshot, if it is one."""
    position, version, at, stream, type_, _, state = part
    if type_ is not None or not version:
        return None
    return Snapshot(stream, version, position, at, state)
