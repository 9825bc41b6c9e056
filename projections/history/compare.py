"""Compares two executions step by step: where they part, and what they took. No I/O.

Steps belong together by their id; those that are left, by their name. A difference is the other's
value less this one's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any, NamedTuple

from domain.json_equality import same_json
from domain.sealing import Ciphertext
from domain.types import plain_number

Document = Mapping[str, Any]

OUTCOME = ("name", "status", "input", "output", "error")
"""The members of a step that say what happened; the others say when, who and how much."""
SHOWN = ("id", "name", "status", "duration")
UNREADABLE = (Ciphertext,)
"""What was erased is not compared."""
EXACT = Context(prec=80)
"""More digits than two amounts have together."""
METRICS = ("duration", "activeDuration", "cost", "tokensUsed", "apiCalls")


class Pair(NamedTuple):
    """A step of each; None where the other has none that belongs to it. `by` is what they share."""

    this: Document | None
    other: Document | None
    by: str | None
    moved: bool = False


def compare(this: Document, other: Document) -> dict[str, Any]:
    """The comparison of two documents of executions."""
    pairs = list(_pairs(this["steps"], other["steps"]))
    rows = [_row(pair) for pair in pairs]
    parted = next((number for number, row in enumerate(rows) if row["differs"]), None)
    return {
        "this": _summary(this),
        "with": _summary(other),
        "difference": _difference(this["metrics"], other["metrics"]),
        "firstDivergence": None if parted is None else {"index": parted, **rows[parted]},
        "steps": rows,
    }


def _pairs(these: Sequence[Document], others: Sequence[Document]) -> Iterator[Pair]:
    """In the order of this one's steps; the other's own come where they came."""
    partners = _partners(these, others)
    indexes = {id(step): index for index, step in enumerate(others)}
    taken = {id(other) for other, _ in partners.values()}
    passed = farthest = 0
    for step in these:
        other, by = partners.get(step["id"], (None, None))
        if other is None:
            yield Pair(step, None, None)
            continue
        index = indexes[id(other)]
        for between in others[passed:index]:
            if id(between) not in taken:
                yield Pair(None, between, None)
        passed = max(passed, index)
        yield Pair(step, other, by, moved=index < farthest)
        farthest = max(farthest, index)
    yield from (Pair(None, rest, None) for rest in others[passed:] if id(rest) not in taken)


def _partners(
    these: Sequence[Document], others: Sequence[Document]
) -> dict[str, tuple[Document, str]]:
    by_id = {step["id"]: step for step in others}
    partners = {step["id"]: (by_id[step["id"]], "id") for step in these if step["id"] in by_id}
    left: dict[str, list[Document]] = {}
    for step in reversed(others):
        if step["id"] not in partners:
            left.setdefault(step["name"], []).append(step)
    for step in these:
        if step["id"] not in partners and left.get(step["name"]):
            partners[step["id"]] = (left[step["name"]].pop(), "name")
    return partners


def _row(pair: Pair) -> dict[str, Any]:
    this, other, by, moved = pair
    if this is None or other is None:
        return {
            "matchedBy": None,
            "this": None if this is None else _step(this),
            "with": None if other is None else _step(other),
            "differs": ["presence"],
            "difference": {},
        }
    differs = [
        name for name in OUTCOME if not same_json(this.get(name), other.get(name), UNREADABLE)
    ]
    return {
        "matchedBy": by,
        "this": _step(this),
        "with": _step(other),
        "differs": [*(["order"] if moved else []), *differs],
        "difference": _difference(_metrics(this), _metrics(other)),
    }


def _step(step: Document) -> dict[str, Any]:
    shown = {name: step[name] for name in SHOWN if name in step}
    return shown | {n: v for n, v in step.get("metrics", {}).items() if n in METRICS}


def _metrics(step: Document) -> dict[str, Any]:
    return {
        **step.get("metrics", {}),
        **({"duration": step["duration"]} if "duration" in step else {}),
    }


def _summary(execution: Document) -> dict[str, Any]:
    shown = {name: execution[name] for name in ("$id", "version", "status")}
    metrics = execution["metrics"]
    return shown | {name: metrics[name] for name in METRICS if name in metrics}


def _difference(this: Document, other: Document) -> dict[str, Any]:
    """Only of what both have: what one has not is not nothing."""
    both = (name for name in METRICS if name in this and name in other)
    return {
        name: plain_number(EXACT.subtract(_exact(other[name]), _exact(this[name]))) for name in both
    }


def _exact(number: float | Decimal) -> Decimal:
    """The amount that was recorded: floats of two amounts differ by what neither has."""
    return number if isinstance(number, Decimal) else Decimal(str(number))
