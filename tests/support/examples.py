"""How many examples hypothesis draws: all of them in a thorough run alone."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import settings
from hypothesis.internal.conjecture import providers

THOROUGH = 100
"""Examples of a property that sets no bound of its own; the others in proportion."""
PROFILES = {"thorough": THOROUGH, "executions": 30, "fast": 10}
LEAST = 4


def register_profiles() -> None:
    """A test's result must not depend on what else the machine is doing: none has a deadline."""
    for name, examples in PROFILES.items():
        settings.register_profile(name, deadline=None, max_examples=examples)


def draw_no_constants_of_the_code() -> None:
    """For a run that is not thorough: to look for them, hypothesis reads all modules, in each process for seconds."""
    cast(Any, providers)._get_local_constants = lambda: providers._local_constants


def at_most(examples: int, **more: Any) -> settings:
    """Settings of a property that draws so many in a thorough run, and fewer in any other."""
    share = examples * settings().max_examples // THOROUGH
    return settings(max_examples=max(LEAST, share), **more)
