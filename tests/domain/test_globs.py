"""Globs of event types: their matches, their speed, and suggestions for mistyped names."""

from __future__ import annotations

import re
import time
from itertools import product

import pytest

from domain.globs import fits, meant


def test_glob_star_matches_any_characters_and_the_rest_literally() -> None:
    texts = ["".join(letters) for size in range(5) for letters in product("ab", repeat=size)]
    globs = ["".join(letters) for size in range(6) for letters in product("ab*", repeat=size)]
    for glob, text in product(globs, texts):
        expression = ".*".join(map(re.escape, glob.split("*")))
        assert fits(glob, text) is bool(re.fullmatch(expression, text)), (glob, text)


def test_glob_with_many_stars_is_matched_without_backtracking() -> None:
    """As a regular expression these take seconds, and a few more stars far longer."""
    began = time.process_time()
    assert not fits("*" * 12 + "z", "execution.step.completed")
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("faild", "; did you mean `failed`?"),
        ("Status-Changed", "; did you mean `status_changed`?"),
        ("statuschanged", "; did you mean `status_changed`?"),
        ("step.complete", "; did you mean `step.completed` or `completed`?"),
        ("nothing", ""),
    ],
)
def test_names_similar_to_a_mistyped_one_are_suggested(word: str, said: str) -> None:
    names = {name: name for name in ("completed", "failed", "status_changed", "step.completed")}
    assert meant(word, names) == said
