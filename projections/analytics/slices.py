"""Computes how the running totals of each slice change when facts change."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal, localcontext
from operator import add, attrgetter
from typing import Any

from domain.types import EXACT
from projections.analytics.row import NONE, Fact

SLICES = ("service", "assignee", "assignee_type", "model", "customer", "provider", "day")

Cell = tuple[Any, ...]
Amounts = tuple[Any, ...]
_slice_of = attrgetter(*SLICES, "status", "error_code")
_spread_slice_of = attrgetter(*SLICES, "status")


def totals_moved(before: Iterable[Fact], now: Iterable[Fact]) -> list[tuple[Any, ...]]:
    """Return the rows to add to `analytics_totals` when the facts `before` are replaced by the facts `now`."""
    sums: dict[Cell, Amounts] = {}
    with localcontext(EXACT):
        for facts, sign in ((now, 1), (before, -1)):
            for fact in facts:
                _add(sums, _slice_of(fact), _amounts(fact, sign))
        cells: dict[Cell, Amounts] = {}
        for (*values, status, error_code), amounts in sums.items():
            _add(cells, (NONE, NONE, status, error_code), amounts)
            for name, value in zip(SLICES, values, strict=True):
                _add(cells, (name, value, status, error_code), amounts)
    return _rows(cells)


def spread_moved(before: Iterable[Fact], now: Collection[Fact]) -> list[tuple[Any, ...]]:
    """Return the rows to add to `analytics_spread` when the facts `before` are replaced by the facts `now`.

    The octave n has the durations from 2^(n-2) ms up to, but not including, 2^(n-1) ms; 0 ms is in octave 1.
    """
    sums: dict[Cell, Amounts] = {}
    for facts, sign in ((now, 1), (before, -1)):
        for fact in facts:
            if fact.duration is not None:
                octave = fact.duration.bit_length() + 1
                _add(sums, (*_spread_slice_of(fact), octave), (sign,))
    cells: dict[Cell, Amounts] = {}
    for (*values, octave), amounts in sums.items():
        _add(cells, (NONE, NONE, octave), amounts)
        for name, value in zip((*SLICES, "status"), values, strict=True):
            _add(cells, (name, value, octave), amounts)
    return _rows(cells)


def _add(sums: dict[Cell, Amounts], cell: Cell, amounts: Amounts) -> None:
    known = sums.get(cell)
    sums[cell] = tuple(map(add, known, amounts)) if known else amounts


def _rows(cells: dict[Cell, Amounts]) -> list[tuple[Any, ...]]:
    """Return the rows to add, in the order of their keys, which prevents deadlocks between processes."""
    return [(*cell, *amounts) for cell, amounts in sorted(cells.items()) if any(amounts)]


def _amounts(fact: Fact, sign: int) -> Amounts:
    return (
        sign,
        sign * (fact.success is not None),
        sign * (fact.success is True),
        sign * (fact.duration is not None),
        sign * Decimal(fact.duration or 0),
        sign * fact.cost,
        sign * fact.tokens,
        sign * fact.api_calls,
    )
