"""Adds the analytics of several logs: the sums, and the rates and means that follow from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

from domain.execution.types import Status
from domain.types import EXACT, plain_number
from projections.analytics.queries import UNKNOWN, rate
from projections.representations.exact_json import exact_json

Sums = Mapping[str, Any]
Key = tuple[str | None, ...]


def sums_of(text: bytes) -> Sums:
    """Parse the answer of a log. Raises ValueError, TypeError or LookupError where a figure to be added is missing."""
    body = exact_json(text)
    add_up([body])
    return dict(body)


def add_up(answers: Sequence[Sums]) -> dict[str, Any]:
    """Add the figures of several logs, by group where there are groups. Percentiles and the rate of results are left out,
    as those of all logs do not follow from those of each.
    """
    of, by = answers[0].get("of"), answers[0].get("by")
    shown = {"of": of} if of else {}
    with localcontext(EXACT):
        shown |= _figures(answers)
        if by:
            shown |= {"by": by, "groups": _groups(answers, [by] if isinstance(by, str) else by)}
    return shown


def _groups(answers: Iterable[Sums], by: Sequence[str]) -> list[dict[str, Any]]:
    """Add groups by key, in the order of a single log: groups without a value, or without an error code, come first."""
    found: dict[Key, list[Sums]] = {}
    for answer in answers:
        for group in answer["groups"]:
            key = group["key"]
            found.setdefault(tuple(key) if isinstance(key, list) else (key,), []).append(group)

    def rank(key: Key) -> list[str]:
        return [
            "" if value is None or (name, value) == ("errorCode", UNKNOWN) else value
            for name, value in zip(by, key, strict=True)
        ]

    return [
        {"key": list(key) if len(key) > 1 else key[0], **_figures(found[key])}
        for key in sorted(found, key=rank)
    ]


def _figures(parts: Sequence[Sums]) -> dict[str, Any]:
    total = sum(part["total"] for part in parts)
    statuses = _add_counts(part["statuses"] for part in parts)
    return {
        "total": total,
        "statuses": statuses,
        "successRate": rate(statuses.get(Status.COMPLETED, 0), total),
        "duration": _durations([part["duration"] for part in parts]),
        "totalCost": plain_number(sum((_decimal(part["totalCost"]) for part in parts), Decimal())),
        "tokens": int(sum(part["tokens"] for part in parts)),
        "apiCalls": sum(part["apiCalls"] for part in parts),
        "errorCodes": dict(sorted(_add_counts(part["errorCodes"] for part in parts).items())),
        "firstSeen": min(_values_of(parts, "firstSeen"), default=None),
        "lastSeen": max(_values_of(parts, "lastSeen"), default=None),
    }


def _durations(parts: Sequence[Sums]) -> dict[str, Any]:
    ended = sum(part["count"] for part in parts)
    spent = sum(part["count"] * part["mean"] for part in parts if part["count"])
    longest = max(_values_of(parts, "max"), default=None)
    return {"count": ended, "mean": round(spent / ended) if ended else None, "max": longest}


def _add_counts(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found = Counter[str]()
    for part in parts:
        found.update(part)  # unlike `+`, this keeps counts of 0
    return dict(found)


def _values_of(parts: Iterable[Sums], name: str) -> list[Any]:
    return [part[name] for part in parts if part.get(name) is not None]


def _decimal(number: float | Decimal) -> Decimal:
    return Decimal(str(number))
