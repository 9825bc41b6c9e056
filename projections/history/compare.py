"""Compares two executions step by step: where they diverge, and how their durations and usage differ. No I/O.

Steps are matched by their ids, and the remaining steps by their names. A difference is the value of the other execution
minus the value of this one.
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
"""The members of a step that describe its outcome. The other members are times, assignees and usage."""
SHOWN = ("id", "name", "status", "duration")
UNREADABLE = (Ciphertext,)
"""Types of values that are not compared: erased content."""
EXACT = Context(prec=80)
"""More digits than the difference of two amounts can have."""
METRICS = ("duration", "activeDuration", "cost", "tokensUsed", "apiCalls")


class Pair(NamedTuple):
    """A step of each execution that belong together; None for a step without a match. `by` is the member by which they
    were matched. `moved`: the two executions have the step in another order.
    """

    this: Document | None
    other: Document | None
    by: str | None
    moved: bool = False


def compare(this: Document, other: Document) -> dict[str, Any]:
    """Return the comparison of the documents of two executions."""
    pairs = list(_pairs(this["steps"], other["steps"]))
    rows = [_row(pair) for pair in pairs]
    diverged = next((number for number, row in enumerate(rows) if row["differs"]), None)
    return {
        "this": _summary(this),
        "with": _summary(other),
        "difference": _difference(this["metrics"], other["metrics"]),
        "firstDivergence": None if diverged is None else {"index": diverged, **rows[diverged]},
        "steps": rows,
    }


def _pairs(these: Sequence[Document], others: Sequence[Document]) -> Iterator[Pair]:
    """Yield the pairs in the order of `these`; unmatched steps of `others` come between the steps around them."""
    partners = _partners(these, others)
    indexes = {id(step): index for index, step in enumerate(others)}
    matched = {id(other) for other, _ in partners.values()}
    passed = farthest = 0
    for step in these:
        other, by = partners.get(step["id"], (None, None))
        if other is None:
            yield Pair(step, None, None)
            continue
        index = indexes[id(other)]
        for between in others[passed:index]:
            if id(between) not in matched:
                yield Pair(None, between, None)
        passed = max(passed, index)
        yield Pair(step, other, by, moved=index < farthest)
        farthest = max(farthest, index)
    yield from (Pair(None, other, None) for other in others[passed:] if id(other) not in matched)


def _partners(
    these: Sequence[Document], others: Sequence[Document]
) -> dict[str, tuple[Document, str]]:
    by_id = {step["id"]: step for step in others}
    partners = {step["id"]: (by_id[step["id"]], "id") for step in these if step["id"] in by_id}
    unmatched: dict[str, list[Document]] = {}
    for step in reversed(others):
        if step["id"] not in partners:
            unmatched.setdefault(step["name"], []).append(step)
    for step in these:
        if step["id"] not in partners and unmatched.get(step["name"]):
            partners[step["id"]] = (unmatched[step["name"]].pop(), "name")
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
    """Return the differences of the numbers that both documents have. A missing number does not count as zero."""
    both = (name for name in METRICS if name in this and name in other)
    return {
        name: plain_number(EXACT.subtract(_exact(other[name]), _exact(this[name]))) for name in both
    }


def _exact(number: float | Decimal) -> Decimal:
    """Return a number as the decimal that was recorded. The difference of two floats would have digits of neither."""
    return number if isinstance(number, Decimal) else Decimal(str(number))
