"""Envelopes of all events are valid CloudEvents 1.0 in JSON."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given

from domain.eventlog.codec import EventRow
from domain.json_forms import parse_time
from projections.representations.cloudevents import envelope
from tests.support.given import NOON
from tests.support.random_executions import KEY, creations, walk, ways

ATTRIBUTES = {
    "specversion": str,
    "id": str,
    "type": str,
    "source": str,
    "subject": str,
    "time": str,
    "datacontenttype": str,
    "position": int,
    "version": int,
    "actor": str,
    "occurredat": str,
    "correlationid": str,
    "causationid": str,
    "data": dict,
    "erased": bool,
}
REQUIRED = {"specversion", "id", "type", "source"}


def row(stream: str = "execution/e-1", meta: str = '{"by":"ada"}', data: bytes = b"{}") -> EventRow:
    return EventRow(12, 7, NOON, stream, "execution.progress", meta, data)


def read(stored: EventRow, key: Any = None) -> dict[str, Any]:
    """Parse as a strict reader of CloudEvents would."""
    event: dict[str, Any] = orjson.loads(envelope(stored, key))
    assert event.keys() >= REQUIRED
    assert event["specversion"] == "1.0"
    for name, value in event.items():
        assert re.fullmatch("[a-z0-9]{1,20}", name)
        assert type(value) is ATTRIBUTES[name]
        assert value != ""
    parse_time(event["time"])
    return event


@given(creations, ways)
def test_every_event_has_a_valid_envelope(creation: Any, way: list[Any]) -> None:
    for stored in walk(creation, way).rows:
        event = read(stored, KEY)
        assert event["id"] == str(stored.position)
        assert "$sealed" not in orjson.dumps(event["data"]).decode()


def test_envelope_has_type_source_time_and_actor() -> None:
    meta = '{"by":"provider:\\"acme\\"","correlation":"c","causation":"d","customer":"x"}'
    assert read(row(meta=meta, data=b'{"progress":45}')) == {
        "specversion": "1.0",
        "id": "12",
        "type": "execution.progress",
        "source": "/api/executions/e-1",
        "subject": "e-1",
        "time": "2026-11-22T12:00:00.000Z",
        "datacontenttype": "application/json",
        "position": 12,
        "version": 7,
        "actor": 'provider:"acme"',
        "correlationid": "c",
        "causationid": "d",
        "data": {"progress": 45},
    }


@pytest.mark.parametrize(
    ("stream", "source"),
    [
        ("service/s-1", "/api/services/s-1"),
        ("workflow/w", "/api/workflows/w"),
        ("order/o", "/api/orders/o"),
        ("user/u", "/api/users/u"),
    ],
)
def test_envelope_source_is_the_path_of_its_resource(stream: str, source: str) -> None:
    assert read(row(stream))["source"] == source


def test_envelope_has_occurredat_besides_the_recorded_time() -> None:
    event = read(row(meta='{"by":"ada","occurredAt":"2011-10-01T00:00:00.000Z"}'))
    assert (event["occurredat"], event["time"]) == (
        "2011-10-01T00:00:00.000Z",
        "2026-11-22T12:00:00.000Z",
    )


def test_sealed_content_is_opened_with_the_key_and_null_without() -> None:
    token = KEY.seal(b'{"to":["\xc3\xa9"]}', 7)
    stored = row(data=f'{{"output":{{"$sealed":"{token}"}}}}'.encode())
    assert read(stored, KEY)["data"] == {"output": {"to": ["é"]}}
    assert "erased" not in read(stored, KEY)
    closed = read(stored)
    assert (closed["data"], closed["erased"]) == ({"output": None}, True)
