"""The subjects and formats of messages over NATS.

Content stays sealed: rows are sent in their stored form, with sealed fields as tokens.
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
"""The header with the last sequence that a consumer was sent, in its heartbeats."""
PART = 512 * 1024
"""Bytes of a part of an answer, at most."""
MORE = "More"
"""The header of a part that is not the last."""
ANSWER_TIMEOUT = 5.0
"""Seconds that an edge waits for each part of an answer."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Subjects(NamedTuple):
    """The subjects of one stream, which all begin with its name."""

    stream: str

    @property
    def events(self) -> str:
        """The subject of events, each at the sequence that is its position."""
        return f"{self.stream}.events"

    @property
    def keys(self) -> str:
        """The subject of wrapped data keys, which are sent once and not stored."""
        return f"{self.stream}.keys"

    @property
    def beat(self) -> str:
        """The subject of beats."""
        return f"{self.stream}.beat"

    def ask(self, kind: str) -> str:
        """The subject of a kind of request from edges to relays; `*` for all kinds."""
        return f"{self.stream}.ask.{kind}"


class Beat(NamedTuple):
    """The message that the publishing relay sends every second: the id of the log, the id of the edge key, the last
    positions of the log (`head`) and of the stream, and the name of the log.
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
        """Parse a beat. Raises ValueError or TypeError where the message is none."""
        return cls(**orjson.loads(data))


def encode_row(row: EventRow) -> bytes:
    """Encode a row as a message, whose sequence is the position of the row."""
    head = (row.version, _micros(row.at), row.stream, row.type, row.meta)
    return orjson.dumps(head) + b"\n" + row.data


def decode_row(position: int, payload: bytes) -> EventRow:
    """Decode the row in a message. Raises ValueError where the message has none."""
    head, _, data = payload.partition(b"\n")
    version, at, stream, type_, meta = orjson.loads(head)
    return EventRow(position, version, _time(at), stream, type_, meta, data)


def pack(rows: Iterable[EventRow]) -> bytes:
    """Encode many rows as one text."""
    rows = list(rows)
    heads = [[*row[:2], _micros(row.at), *row[3:6], len(row.data)] for row in rows]
    return b"".join((orjson.dumps(heads), b"\n", *(row.data for row in rows)))


def unpack(body: bytes) -> list[EventRow]:
    """Decode the rows in a text of `pack`."""
    heads, _, data = body.partition(b"\n")
    rows, start = [], 0
    for position, version, at, stream, type_, meta, size in orjson.loads(heads):
        content = data[start : start + size]
        rows.append(EventRow(position, version, _time(at), stream, type_, meta, content))
        start += size
    return rows


def parts(body: bytes) -> Sequence[tuple[bytes, bool]]:
    """Split an answer into parts, each with whether others follow; at least one part."""
    cut = [body[start : start + PART] for start in range(0, len(body), PART)] or [b""]
    return [(part, number < len(cut)) for number, part in enumerate(cut, 1)]


def question(**members: Any) -> bytes:
    """Encode a request as JSON."""
    return orjson.dumps(members)


def _micros(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def _time(micros: int) -> datetime:
    return EPOCH + micros * MICROSECOND
