"""The plan of a run: how long and how often each load runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Each load runs for `seconds`, `repetitions` times; amounts are multiplied by `scale`."""

    seconds: float = 5.0
    repetitions: int = 3
    scale: float = 1.0

    def count(self, amount: int) -> int:
        return max(1, round(amount * self.scale))


QUICK = Plan(seconds=2.0, repetitions=1, scale=0.1)
