"""Packing round-trips, and damage is detected."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import orjson
import pytest
import zstandard
from hypothesis import example, given

from domain.eventlog.codec import to_sealed_json
from domain.model import Recorded
from projections.representations.execution import document
from projections.representations.packing import LARGEST, MARK, pack, same, unpack
from tests.support.random_logs import logs, states


@given(st.binary(max_size=300).filter(lambda content: not content.startswith(MARK)))
@example(b"")
@example(b"{" * LARGEST)
@example(b"{" * (LARGEST + 1))
def test_packed_content_is_unpacked_unchanged(content: bytes) -> None:
    assert unpack(pack(content)) == content


@given(logs())
def test_document_is_packed_to_less_than_half(log: list[Recorded]) -> None:
    for versioned in states(log):
        shown = to_sealed_json(document(versioned, versioned.at))
        assert len(pack(shown)) < len(shown) / 2
        assert unpack(pack(shown)) == shown


def test_large_document_is_stored_unpacked() -> None:
    large = orjson.dumps({"large": "x" * LARGEST})
    assert pack(large) == large == unpack(large)


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: stored[:-1],
        lambda stored: stored + b"x",
        lambda stored: stored[:1] + b"\xff" + stored[2:],
        lambda _: MARK,
        lambda _: pack(b"{" * LARGEST).replace(b"\x00", b"\x01"),
    ],
)
def test_damaged_content_is_an_error_and_equals_no_other(damage: object) -> None:
    stored = pack(orjson.dumps({"$type": "ServiceExecution", "status": "completed", "n": 12345}))
    assert callable(damage)
    damaged = damage(stored)
    assert not same(damaged, stored)


def test_documents_packed_by_different_releases_of_zstandard_are_equal() -> None:
    content = orjson.dumps({"$type": "ServiceExecution", "status": "completed", "n": [1, 2] * 50})
    other = zstandard.compress(content, 19)
    assert other != pack(content)
    assert same(other, pack(content))
    assert not same(other, pack(content + b" "))
    assert not same(other, None)


def test_stored_bytes_that_claim_to_be_huge_are_damaged() -> None:
    with pytest.raises(ValueError, match="larger"):
        unpack(zstandard.compress(b"{" * (LARGEST + 1)))


def test_threads_pack_at_the_same_time() -> None:
    contents = [orjson.dumps({"$id": f"exec-{number}", "n": [number] * 300}) for number in range(9)]

    def round_trips(content: bytes) -> bool:
        return all(unpack(pack(content)) == content for _ in range(300))

    with ThreadPoolExecutor(len(contents)) as pool:
        assert all(pool.map(round_trips, contents))
