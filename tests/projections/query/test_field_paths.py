"""Readings of a field path: a dot separates members or belongs to a key."""

from __future__ import annotations

import pytest

from projections.query.field_paths import FieldSegment, readings, segments

FEW, MANY = "a.b.c.d.e", "a.b.c.d.e.f"


def test_path_has_a_reading_for_each_way_to_join_its_keys_longest_keys_first() -> None:
    found = readings(segments("a.b.c"))
    assert found == (("a.b.c",), ("a.b", "c"), ("a", "b.c"), ("a", "b", "c"))
    assert len(readings(segments(FEW))) == 2**4


def test_path_with_many_dots_has_two_readings() -> None:
    assert readings(segments(MANY)) == ((MANY,), tuple(MANY.split(".")))


@pytest.mark.parametrize("keys", [2, 12])
def test_quoted_keys_have_one_reading(keys: int) -> None:
    assert readings(segments('["a.b"]' * keys)) == (("a.b",) * keys,)


def test_only_dots_between_keys_without_quotes_are_joined() -> None:
    found = readings(segments(f'{MANY}["x.y"].z'))
    assert found == ((MANY, "x.y", "z"), (*MANY.split("."), "x.y", "z"))
    assert readings(segments('a["b"].c["d"].e["f"].g')) == (tuple("abcdefg"),)
    assert readings(segments('a.b["x.y"]')) == (("a.b", "x.y"), ("a", "b", "x.y"))


def test_path_has_at_most_128_keys() -> None:
    keys = ["a"] * 128
    assert segments(".".join(keys)) == tuple(map(FieldSegment, keys))
    assert segments(".".join([*keys, "a"])) == ()


def test_key_in_quotes_may_have_a_line_break() -> None:
    assert segments('a["b\nc"]') == (FieldSegment("a"), FieldSegment("b\nc", quoted=True))
