"""How running totals move, slice by slice, when facts change."""

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
    """The rows to add to `analytics_totals` where these facts take the place of those."""
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
    """The rows to add to `analytics_spread`.

    Durations from 2^(n-2) up to 2^(n-1) ms share the octave n; that of 0 ms is 1.
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
    """In the order of the cells: who adds to them waits for others, and must not wait in a circle."""
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
