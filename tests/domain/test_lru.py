"""The bounded cache evicts the least recently used values, by their weight."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from domain.lru import LruCache
from domain.model import Versioned
from tests.support.sample_aggregate import NOON, Tally


def state(name: str, size: int) -> Versioned[Tally]:
    return Versioned(Tally(name, 0), 1, 1, NOON, size)


def states(capacity: int) -> LruCache[str, Versioned[Any]]:
    return LruCache(capacity, attrgetter("weight"))


def test_recently_used_values_stay_in_the_cache() -> None:
    cache = states(3)
    for name in "abcd":
        cache.put(name, state(name, 100))
    assert cache.trim() == ["a"]
    cache.put("b", state("b", 100))
    assert cache.get("c") is not None
    cache.put("e", state("e", 100))
    assert cache.trim() == ["d"]


def test_cache_evicts_no_value_before_trim() -> None:
    cache: LruCache[int, str] = LruCache(2)
    for number in range(5):
        cache.put(number, "value")
    assert len(cache) == 5
    assert cache.trim() == [0, 1, 2]


def test_removed_value_frees_its_weight_in_the_cache() -> None:
    cache: LruCache[str, int] = LruCache(10, lambda value: value)
    cache.put("a", 8)
    assert cache.pop("a") == 8
    assert cache.pop("a") is None
    cache.put("b", 9)
    cache.put("b", 2)
    cache.put("c", 8)
    assert cache.trim() == []
    assert "b" in cache


def test_states_folded_from_hundreds_of_small_events_stay_in_the_cache() -> None:
    cache = states(1_500)
    for number in range(1_500):
        cache.put(f"{number}", state(f"{number}", 500 * 40))
    assert cache.trim() == []


def test_large_content_weighs_as_much_as_many_states() -> None:
    cache = states(600)
    for name in "abc":
        cache.put(name, state(name, 20 * 1024 * 1024))
    assert cache.trim() == ["a", "b"]


def test_newest_value_stays_in_the_cache_at_any_size() -> None:
    cache = states(1)
    cache.put("a", state("a", 2**40))
    assert cache.trim() == []


def test_values_that_meet_a_condition_are_removed_with_their_weight() -> None:
    cache: LruCache[str, int] = LruCache(10, lambda value: value)
    for key, value in (("a", 1), ("b", 4), ("c", 5)):
        cache.put(key, value)
    cache.remove(lambda value: value >= 4)
    cache.put("d", 9)
    assert (cache.get("a"), cache.get("b"), cache.trim()) == (1, None, [])
