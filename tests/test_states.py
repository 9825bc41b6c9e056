"""What is at hand is bounded by what it takes, and small events push nothing out."""

from __future__ import annotations

from domain.lru import States
from domain.model import Held
from tests.tally import NOON, Tally


def held(name: str, size: int) -> Held[Tally]:
    return Held(Tally(name, 0), 1, 1, NOON, size)


def test_the_streams_used_last_stay() -> None:
    states = States(3)
    for name in "abcd":
        states.keep(name, held(name, 100))
    assert states.trim() == ["a"]
    states.keep("b", held("b", 100))
    states.keep("e", held("e", 100))
    assert states.trim() == ["c"]


def test_hundreds_of_small_events_of_each_stream_push_nothing_out() -> None:
    states = States(1_500)
    for number in range(1_500):
        states.keep(f"{number}", held(f"{number}", 500 * 40))
    assert states.trim() == []


def test_large_content_takes_the_room_of_many() -> None:
    states = States(600)
    for name in "abc":
        states.keep(name, held(name, 20 * 1024 * 1024))
    assert states.trim() == ["a", "b"]


def test_one_stream_stays_however_large_it_is() -> None:
    states = States(1)
    states.keep("a", held("a", 2**40))
    assert states.trim() == []
