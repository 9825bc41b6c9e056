"""Every stored form of every event can still be read.

`samples/events.json` is a log: rows are only added to it, never changed. A new type of event, or a new field, needs a new
row at the end of one of its histories.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import orjson

from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey
from domain.json_forms import parse_time
from domain.model import Recorded, Versioned, replay
from domain.registry import EVENTS, codec
from projections.representations.execution import document
from projections.representations.execution_schema import ServiceExecution
from tests.support.paths import SAMPLES

SAMPLES = SAMPLES / "events.json"
KEY = b"s" * 32


def stored(row: dict[str, Any]) -> EventRow:
    return EventRow(
        row["position"],
        row["version"],
        parse_time(row["at"]),
        row["stream"],
        row["type"],
        orjson.dumps(row["meta"]).decode(),
        orjson.dumps(row["data"]),
    )


ROWS = [stored(row) for row in orjson.loads(SAMPLES.read_bytes())]
CODEC = codec()
IN_THE_CLEAR = {5}
"""Events from before one of their fields was sealed: such a field is visible to everyone."""


def opened(row: EventRow) -> Recorded:
    return CODEC.decode(row, DataKey(KEY, row.stream))


def test_every_type_of_event_has_a_sample() -> None:
    assert {event.type for event in EVENTS} == {row.type for row in ROWS}


def test_sample_decodes_and_encodes_to_the_same_row() -> None:
    for row in ROWS:
        if row.position in IN_THE_CLEAR:
            assert opened(row).event == CODEC.decode(row).event
            continue
        again = CODEC.encode(CODEC.decode(row), None)
        assert orjson.loads(again.data) == orjson.loads(row.data), row.position
        assert orjson.loads(again.meta) == orjson.loads(row.meta), row.position
        assert again.type == row.type, row.position


def test_sealed_fields_of_a_stored_sample_open() -> None:
    for row in ROWS:
        recorded = opened(row)
        assert b"$sealed" not in recorded.event.model_dump_json().encode(), row.position


def test_stored_samples_replay_to_their_final_states() -> None:
    ends: dict[str, Versioned[Any] | None] = {}
    by_stream = sorted(ROWS, key=lambda row: row.stream)
    for stream, rows in groupby(by_stream, key=lambda row: row.stream):
        sealed = list(rows)
        ends[stream] = replay(None, map(opened, sealed))
        assert replay(None, map(CODEC.decode, sealed)) is not None
    assert {
        stream: versioned.state.status
        for stream, versioned in ends.items()
        if versioned and "exec" in stream
    } == {
        "execution/sample-1": "completed",
        "execution/sample-2": "cancelled",
        "execution/sample-3": "failed",
        "execution/sample-4": "retry",
        "execution/sample-5": "queued",
    }
    for stream, versioned in ends.items():
        if versioned and stream.startswith("execution/"):
            shown = orjson.dumps(document(versioned, versioned.at))
            ServiceExecution.model_validate_json(shown)


def test_every_field_of_every_event_is_in_a_sample() -> None:
    sampled: dict[str, set[str]] = {}
    for row in ROWS:
        sampled.setdefault(row.type, set()).update(orjson.loads(row.data))
    fields = {
        event.type: {field.alias or name for name, field in event.model_fields.items()}
        for event in EVENTS
    }
    assert sampled == fields
