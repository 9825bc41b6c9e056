"""The form of an answer is the one that its reader likes most."""

from __future__ import annotations

import httpx
import pytest

JSON, LINKED = "application/json", "application/ld+json"


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
    assert response.headers["vary"] == "accept"
    assert ("@context" in response.json()) == (form == LINKED)
