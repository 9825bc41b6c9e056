"""The number of examples that hypothesis draws: all of them only in a thorough run."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import settings
from hypothesis.internal.conjecture import providers

THOROUGH = 100
"""Examples of a property without a limit of its own; the others in proportion."""
PROFILES = {"thorough": THOROUGH, "executions": 20, "fast": 10}
LEAST = 4


def register_profiles() -> None:
    """A test's result must not depend on the load of the machine: no example has a deadline."""
    for name, examples in PROFILES.items():
        settings.register_profile(name, deadline=None, max_examples=examples)


def draw_no_constants_of_the_code() -> None:
    """For quick runs: to find constants, hypothesis reads all modules, for seconds in each process."""
    cast(Any, providers)._get_local_constants = lambda: providers._local_constants


def at_most(examples: int, **more: Any) -> settings:
    """Settings of a property that draws this many examples in a thorough run, and fewer in any other."""
    share = examples * settings().max_examples // THOROUGH
    return settings(max_examples=max(LEAST, share), **more)
