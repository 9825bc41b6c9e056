"""The encoding of rows, answers and beats for NATS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.fan_out.wire import PART, Beat, decode_row, encode_row, pack, parts, unpack
from domain.eventlog.codec import EventRow

TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
ROWS = st.builds(
    EventRow,
    position=st.integers(1, 2**53),
    version=st.integers(1, 2**31),
    at=TIMES,
    stream=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    type=st.just("execution.created"),
    meta=st.text(st.characters(exclude_categories=["Cs"])),
    data=st.binary(),
)


@given(ROWS)
def test_row_is_decoded_unchanged(row: EventRow) -> None:
    assert decode_row(row.position, encode_row(row)) == row


@given(st.lists(ROWS, max_size=5))
def test_packed_rows_are_decoded_unchanged(rows: list[EventRow]) -> None:
    assert unpack(pack(rows)) == rows


def test_times_keep_their_microseconds() -> None:
    at = datetime(2026, 11, 29, 6, 7, 8, 123_457, UTC)
    row = EventRow(1, 1, at, "execution/e", "execution.created", "{}", b"{}")
    assert decode_row(1, encode_row(row)).at - at == timedelta()


@pytest.mark.parametrize(
    ("size", "more"), [(0, [False]), (PART, [False]), (PART + 1, [True, False])]
)
def test_answer_is_split_into_parts_of_which_all_but_the_last_are_marked_as_followed(
    size: int, more: list[bool]
) -> None:
    body = b"x" * size
    cut = parts(body)
    assert [follows for _, follows in cut] == more
    assert b"".join(part for part, _ in cut) == body


def test_beat_is_decoded_unchanged() -> None:
    beat = Beat("log", "key", 12, 10, "north")
    assert Beat.read(beat.as_json()) == beat


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b'{"log":"a","key":"b","head":1}'])
def test_text_that_is_not_a_beat_is_refused(said: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        Beat.read(said)
