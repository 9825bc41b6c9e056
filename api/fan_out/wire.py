"""Subjects and message formats of what goes over NATS.

Content is never opened on its way: rows are as they are stored, with what is sealed in them as tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from domain.eventlog.codec import EventRow

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
EXPECTED = "Nats-Expected-Last-Sequence"
LAST_SEQUENCE = "Nats-Last-Stream"
"""In a heartbeat of a consumer: the last sequence that it has been sent."""
PART = 512 * 1024
"""Bytes of a part of an answer."""
MORE = "More"
"""The header of a part that others follow."""
ANSWER_TIMEOUT = 5.0
"""Seconds that an edge waits for each part of an answer."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Subjects(NamedTuple):
    """The subjects of one stream, which all begin with its name."""

    stream: str

    @property
    def events(self) -> str:
        """The events, each at the sequence that is its position."""
        return f"{self.stream}.events"

    @property
    def keys(self) -> str:
        """Wrapped data keys, sent once and kept nowhere."""
        return f"{self.stream}.keys"

    @property
    def beat(self) -> str:
        """Every second: which log it is, and how far."""
        return f"{self.stream}.beat"

    def ask(self, kind: str) -> str:
        """A question of an edge to any relay; `*` for all kinds."""
        return f"{self.stream}.ask.{kind}"


class Beat(NamedTuple):
    """What a relay that publishes says every second: the log, the id of the key for edges, how far the log and the
    stream are, and the name of the log.
    """

    log: str
    key: str
    head: int
    position: int
    name: str | None = None

    def as_json(self) -> bytes:
        return orjson.dumps(self._asdict())

    @classmethod
    def read(cls, data: bytes) -> Beat:
        """Raises ValueError, TypeError where it is none."""
        return cls(**orjson.loads(data))


def encode_row(row: EventRow) -> bytes:
    """A row as a message, whose sequence is its position."""
    head = (row.version, _micros(row.at), row.stream, row.type, row.meta)
    return orjson.dumps(head) + b"\n" + row.data


def decode_row(position: int, payload: bytes) -> EventRow:
    """The row in a message. Raises ValueError where there is none."""
    head, _, data = payload.partition(b"\n")
    version, at, stream, type_, meta = orjson.loads(head)
    return EventRow(position, version, _time(at), stream, type_, meta, data)


def pack(rows: Iterable[EventRow]) -> bytes:
    """Many rows as one text of bytes."""
    rows = list(rows)
    heads = [[*row[:2], _micros(row.at), *row[3:6], len(row.data)] for row in rows]
    return b"".join((orjson.dumps(heads), b"\n", *(row.data for row in rows)))


def unpack(body: bytes) -> list[EventRow]:
    """The rows in such a text."""
    heads, _, data = body.partition(b"\n")
    rows, start = [], 0
    for position, version, at, stream, type_, meta, size in orjson.loads(heads):
        content = data[start : start + size]
        rows.append(EventRow(position, version, _time(at), stream, type_, meta, content))
        start += size
    return rows


def parts(body: bytes) -> Sequence[tuple[bytes, bool]]:
    """An answer in parts that any server takes, each with whether others follow; one at least."""
    cut = [body[start : start + PART] for start in range(0, len(body), PART)] or [b""]
    return [(part, number < len(cut)) for number, part in enumerate(cut, 1)]


def question(**members: Any) -> bytes:
    """A question, as JSON."""
    return orjson.dumps(members)


def _micros(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def _time(micros: int) -> datetime:
    return EPOCH + micros * MICROSECOND
