"""Measurements and their targets, printed as tables or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table


class Target(NamedTuple):
    """A bound that a measurement should meet, such as `Target("≥", 25_000)`."""

    compare: Literal["≥", "≤"]
    bound: float

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.compare == "≥" else value <= self.bound


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured quantity, with a sample for each repetition; the median is its value."""

    name: str
    unit: str
    samples: Sequence[float]
    target: Target | None = None
    note: str = ""

    @property
    def value(self) -> float:
        return median(self.samples)

    @property
    def spread(self) -> str:
        return f"{number(min(self.samples))} - {number(max(self.samples))}"

    def as_json(self) -> dict[str, Any]:
        target = self.target
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.value,
            "samples": list(self.samples),
            "target": f"{target.compare} {target.bound:g}" if target else None,
            "met": target.is_met(self.value) if target else None,
            "note": self.note,
        }


@dataclass(slots=True)
class Report:
    """The measurements of a run, by section."""

    sections: dict[str, list[Measurement]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, section: str, measurements: Sequence[Measurement]) -> None:
        self.sections.setdefault(section, []).extend(measurements)

    def print_json(self) -> None:
        sections = {
            name: [measurement.as_json() for measurement in measurements]
            for name, measurements in self.sections.items()
        }
        print(json.dumps({"sections": sections, "notes": self.notes}, indent=1))  # noqa: T201

    def print_tables(self) -> None:
        console = Console(width=None if sys.stdout.isatty() else 120)
        for name, measurements in self.sections.items():
            console.print(_table(name, measurements))
        for note in self.notes:
            console.print(note, highlight=False)


def _table(name: str, measurements: Sequence[Measurement]) -> Table:
    table = Table(title=name, title_justify="left", show_edge=False)
    table.add_column("measurement")
    table.add_column("median", justify="right")
    table.add_column("min - max", justify="right")
    table.add_column("target", justify="right")
    table.add_column("", justify="left")
    for measurement in measurements:
        target, verdict = measurement.target, ""
        if target:
            verdict = "[green]met[/]" if target.is_met(measurement.value) else "[red]missed[/]"
        table.add_row(
            f"{measurement.name}\n[dim]{measurement.note}[/]"
            if measurement.note
            else measurement.name,
            f"{number(measurement.value)} {measurement.unit}",
            measurement.spread if len(measurement.samples) > 1 else "",
            f"{target.compare} {number(target.bound)}" if target else "",
            verdict,
        )
    return table


def number(value: float) -> str:
    """Return a number as text with about three significant digits: `12 345`, `84.1`, `0.52`."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
