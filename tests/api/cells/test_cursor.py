"""The cursor of several logs: its text has a position for each log, and needs no escaping in a URL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cells.cursor import EPOCH, LONGEST, MOST_LOGS, CellCursor, CellPosition
from api.settings import LOG_NAME
from tests.support.examples import at_most

NAMES = st.from_regex(LOG_NAME, fullmatch=True).filter(str.isascii)
LOGS = st.one_of(st.just(""), st.uuids().map(str))
TIMES = st.integers(-62_135_596_800_000, 4_102_444_800_000).map(
    lambda each: EPOCH + timedelta(milliseconds=each)
)
CELL_POSITIONS = st.one_of(
    st.tuples(st.integers(0, 10**18 - 1), LOGS, st.none()),
    st.tuples(st.just(0), LOGS, TIMES),
).map(CellPosition._make)


@given(st.dictionaries(NAMES, CELL_POSITIONS, min_size=1, max_size=9))
def test_cursor_is_parsed_from_its_text_unchanged(positions: dict[str, CellPosition]) -> None:
    text = str(CellCursor(positions))
    read = CellCursor.read(text)
    assert {name: read.get(name) for name in read} == positions
    assert quote(text, safe="") == text


@given(st.dictionaries(NAMES, CELL_POSITIONS, min_size=2, max_size=5), CELL_POSITIONS, st.data())
@at_most(50)
def test_position_of_one_log_moves_independently(
    positions: dict[str, CellPosition], position: CellPosition, data: st.DataObject
) -> None:
    cursor, name = CellCursor(positions), data.draw(st.sampled_from(sorted(positions)))
    cursor.move(name, position)
    read = CellCursor.read(str(cursor))
    assert {each: read.get(each) for each in read} == {**positions, name: position}


@given(st.one_of(st.text(), st.text("abz09.~t-", max_size=60)))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        read = CellCursor.read(text)
    except ValueError:
        return
    assert CellCursor.read(str(read)).get(next(iter(read))) == read.get(next(iter(read)))


@pytest.mark.parametrize(
    "text",
    [
        *("", "12", "now", "north", "north.12", "North.a.1", "north.a.-1", "north.a.1~", "north.a_b.1"),
        *("north.a.1~north.a.2", "north.a.1.2", "north.a.t", "north.a.1\n", "north.a.\u0661"),
        *("north.a.t999999999999999999", "north.a.1234567890123456789", "n.a.1~" * LONGEST),
    ],
)  # fmt: skip
def test_text_that_is_not_a_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(it|a time)"):
        CellCursor.read(text)


def test_cursor_of_the_largest_number_of_logs_is_parsed() -> None:
    names = [f"{'n' * 28}{number:03}" for number in range(MOST_LOGS)]
    longest = CellPosition(10**18 - 1, "0189ab12-0000-4000-8000-000000000000")
    assert list(CellCursor.read(str(CellCursor(dict.fromkeys(names, longest))))) == names


def test_position_of_a_log_gives_the_parameters_of_its_request() -> None:
    at = datetime(2026, 11, 22, 8, tzinfo=UTC)
    assert CellPosition().query == [("from", "0")]
    assert CellPosition(12, "a").query == [("from", "12"), ("log", "a")]
    assert CellPosition(0, "a", at).query == [("from", "2026-11-22T08:00:00.000Z"), ("log", "a")]
