"""The form of an answer is the one that `Accept` prefers."""

from __future__ import annotations

import httpx
import pytest

from api.web import responses

JSON, LINKED = "application/json", "application/ld+json"
STREAM = "text/event-stream"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html", JSON),
        (LINKED, LINKED),
        ("Application/LD+JSON", LINKED),
        (f'{LINKED};profile="http://www.w3.org/ns/json-ld#compacted, q=0"', LINKED),
        (f"{LINKED};q=0", JSON),
        (f"{LINKED};q=0.001", LINKED),
        (f"{JSON}, {LINKED};q=0.1", JSON),
        (f"{JSON};q=0.1, {LINKED}", LINKED),
        (f"{LINKED}; q=0.5, {JSON}; q=0.9", JSON),
        (f"{LINKED}, {JSON}", LINKED),
        (f"{JSON}, {LINKED}", JSON),
        (f"*/*, {LINKED}", LINKED),
        (f"{LINKED};q=0.5, */*;q=0.8", JSON),
        (f"{LINKED};q=0.5, {JSON};q=0.2, */*", LINKED),
        (f"{LINKED};q=0.5, application/*;q=0.2, */*", LINKED),
        (f"x{LINKED}", JSON),
        (f"{LINKED};q=2, {JSON};q=much", LINKED),
    ],
)
def test_linked_data_is_chosen_by_its_quality_in_accept(
    api: httpx.Client, queued_execution: str, accept: str, form: str
) -> None:
    response = api.get(f"/executions/{queued_execution}", headers={"Accept": accept})
    assert response.headers["content-type"] == form
    assert response.headers["vary"] == responses.VARY["vary"]
    assert ("@context" in response.json()) == (form == LINKED)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", JSON),
        ("text/*", JSON),
        (STREAM, STREAM),
        ("Text/Event-Stream", STREAM),
        (f"{STREAM}, */*", STREAM),
        (f"{STREAM};q=0.5, {JSON};q=0.1", STREAM),
        (f"{JSON}, {STREAM}", JSON),
        (f"{JSON}, {STREAM};q=0", JSON),
        (f"{JSON};q=0.5, {STREAM}", STREAM),
        (f"x{STREAM}", JSON),
    ],
)
def test_event_stream_is_sent_only_where_accept_prefers_it_to_json(
    api: httpx.Client, completed_execution: str, accept: str, form: str
) -> None:
    path = f"/executions/{completed_execution}/events"
    with api.stream("GET", path, headers={"Accept": accept}) as response:
        assert response.headers["content-type"].partition(";")[0] == form
        assert response.headers["vary"] == responses.VARY["vary"]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (f"{JSON}, {STREAM};q=0.1", 200),
        ("TEXT/EVENT-STREAM", 200),
        (f"{STREAM};q=0", 406),
        (f"{JSON}, {STREAM};q=0", 406),
        (f"{STREAM}x", 406),
        ("*/*", 406),
    ],
)
@pytest.mark.parametrize("path", ["/events", "/executions/watch", "/executions/monitor"])
def test_stream_only_path_is_406_unless_accept_names_event_stream(
    api: httpx.Client, path: str, accept: str, status: int
) -> None:
    with api.stream("GET", path, headers={"Accept": accept}) as response:
        assert response.status_code == status
