"""Blocks of archive files: events are read as they were written, and damaged blocks are refused."""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import accumulate
from os import urandom

import hypothesis.strategies as st
import pytest
from hypothesis import given

from domain.eventlog.archive.blocks import (
    ENTRY,
    EVENTS,
    LENGTH,
    MAGIC,
    blocks_of,
    encode_positions,
    events_in,
    events_of,
    file_of,
    open_block,
    positions_of,
)
from domain.eventlog.codec import EventRow
from tests.support.examples import at_most

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
texts = st.text(st.characters(codec="utf-8"), max_size=9)
numbers = st.integers(1, 2**40)
events = st.tuples(
    numbers, st.integers(-(2**45), 2**45), texts, texts, texts, st.binary(max_size=9)
)


@given(st.integers(1, 2**40), st.lists(events, min_size=1, max_size=9), st.integers(1, EVENTS))
def test_events_are_read_as_they_were_written(
    first: int, fields: list[tuple[int, int, str, str, str, bytes]], times: int
) -> None:
    rows = [
        EventRow(first + nth, each[0], NOON + timedelta(microseconds=each[1]), *each[2:])
        for nth, each in enumerate(fields * times)
    ]
    content, index = file_of(rows)
    blocks = blocks_of(index)
    read = [
        row
        for block in blocks
        for row in events_of(open_block(content[block.start : block.start + block.length]))
    ]
    assert read == rows
    assert content.startswith(MAGIC)
    assert len(blocks) == -(-len(rows) // EVENTS)
    last = blocks[-1]
    assert last.start + last.length == len(content)


@given(st.lists(st.integers(1, 2**30), max_size=20))
def test_positions_are_read_as_they_were_written(steps: list[int]) -> None:
    positions = list(accumulate(steps))
    assert positions_of(encode_positions(positions)) == positions


def rows_of(number: int) -> list[EventRow]:
    return [EventRow(nth, 1, NOON, "execution/e", "t", "{}", b"{}") for nth in range(1, number + 1)]


@given(st.integers(0, 200), st.binary(max_size=60), st.sampled_from([b"", b"\0", b"=", b"."]))
def test_sealed_content_is_read_as_it_was_written(
    version: int, content: bytes, more: bytes
) -> None:
    token = f"{version}.{urlsafe_b64encode(content).decode()}".encode() + more
    data = b'{"a":{"$sealed":"' + token + b'"},"b":{"$secret":"' + token + b'"},"c":"' + token
    rows = [row._replace(data=data) for row in rows_of(3)]
    content, index = file_of(rows)
    assert list(events_in(content, index)) == rows


def test_ciphertext_is_stored_without_overhead() -> None:
    ciphertext = [urandom(600) for _ in range(EVENTS)]
    rows = [
        row._replace(data=b'{"$sealed":"1.' + urlsafe_b64encode(sealed) + b'"}')
        for row, sealed in zip(rows_of(EVENTS), ciphertext, strict=True)
    ]
    content, _ = file_of(rows)
    assert len(content) < 603 * EVENTS
    assert all(sealed in content for sealed in ciphertext)


def test_file_of_the_first_format_is_read() -> None:
    rows = rows_of(3)
    content, [block] = file_of(rows)[0], blocks_of(file_of(rows)[1])
    former = zlib.compress(open_block(content[block.start : block.start + block.length]))
    index = LENGTH.pack(len(former)) + sha256(former).digest()
    file = b"executions events 1\n" + LENGTH.pack(len(former)) + former
    assert list(events_in(file, index)) == rows


def test_locations_in_a_block_are_read_alone() -> None:
    content, index = file_of(rows_of(9))
    [block] = blocks_of(index)
    found = events_of(open_block(content[block.start : block.start + block.length]), [2, 7])
    assert [row.position for row in found] == [3, 8]


@at_most(30)
@given(st.binary(max_size=200))
def test_bytes_that_are_not_a_block_are_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(events_of(damage))
    with pytest.raises(ValueError, match=r"."):
        open_block(damage)


def test_truncated_block_is_refused() -> None:
    content, index = file_of(rows_of(3))
    [block] = blocks_of(index)
    whole = open_block(content[block.start : block.start + block.length])
    for size in range(len(whole)):
        with pytest.raises(ValueError, match="no events"):
            list(events_of(whole[:size]))


def test_truncated_stored_block_is_refused() -> None:
    data = b'{"$sealed":"1.' + urlsafe_b64encode(bytes(30)) + b'"}'
    content, index = file_of([row._replace(data=data) for row in rows_of(3)])
    [block] = blocks_of(index)
    stored = content[block.start :]
    assert open_block(stored)
    for size in range(len(stored)):
        with pytest.raises(ValueError, match=r"."):
            open_block(stored[:size])


def test_blocks_with_a_truncated_index_are_refused() -> None:
    content, index = file_of(rows_of(EVENTS + 1))
    assert len(index) == 2 * ENTRY
    for size in {*range(len(index))} - {0, ENTRY}:
        with pytest.raises(ValueError, match="cut short"):
            blocks_of(index[:size])
        with pytest.raises(ValueError, match="cut short"):
            list(events_in(content, index[:size]))


def test_truncated_position_is_refused() -> None:
    encoded = encode_positions([5, 300, 70_000])
    for size in (2, 4, 5):
        with pytest.raises(ValueError, match="cut short"):
            positions_of(encoded[:size])
    assert positions_of(encoded[:3]) == [5, 300]
