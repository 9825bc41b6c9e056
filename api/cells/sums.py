"""Sums of several logs as those of all: what adds up, and what follows from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson

from domain.types import plain_number

Sums = Mapping[str, Any]

COMPLETED = "completed"


def summed(answers: Sequence[Sums]) -> dict[str, Any]:
    """The figures of all, by group where there are groups. Percentiles and the rate of results are those of one log
    alone: they do not follow from those of several.
    """
    shown = _figures(answers)
    if any("of" in answer for answer in answers):
        shown = {"of": answers[0]["of"], **shown}
    if any("groups" in answer for answer in answers):
        shown["groups"] = _groups(answers)
    return shown


def _groups(answers: Iterable[Sums]) -> list[dict[str, Any]]:
    by_key: dict[bytes, list[Sums]] = {}
    for answer in answers:
        for group in answer["groups"]:
            by_key.setdefault(orjson.dumps(group["key"]), []).append(group)
    keys = sorted(by_key, key=lambda key: (key == b"null", key))
    return [{"key": orjson.loads(key), **_figures(by_key[key])} for key in keys]


def _figures(parts: Sequence[Sums]) -> dict[str, Any]:
    total = sum(part["total"] for part in parts)
    statuses = _added(part["statuses"] for part in parts)
    completed = statuses.get(COMPLETED, 0)
    return {
        "total": total,
        "statuses": statuses,
        "successRate": completed / total if total else None,
        "duration": _durations([part["duration"] for part in parts]),
        "totalCost": plain_number(sum((_decimal(part["totalCost"]) for part in parts), Decimal())),
        "tokens": sum(part["tokens"] for part in parts),
        "apiCalls": sum(part["apiCalls"] for part in parts),
        "errorCodes": dict(sorted(_added(part["errorCodes"] for part in parts).items())),
        "firstSeen": min(_known(parts, "firstSeen"), default=None),
        "lastSeen": max(_known(parts, "lastSeen"), default=None),
    }


def _durations(parts: Sequence[Sums]) -> dict[str, Any]:
    ended = sum(part["count"] for part in parts)
    spent = sum(part["count"] * part["mean"] for part in parts if part["count"])
    longest = max(_known(parts, "max"), default=None)
    return {"count": ended, "mean": round(spent / ended) if ended else None, "max": longest}


def _added(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found = Counter[str]()
    for part in parts:
        found.update(part)  # unlike `+`, this keeps what is 0
    return dict(found)


def _known(parts: Iterable[Sums], name: str) -> list[Any]:
    return [part[name] for part in parts if part.get(name) is not None]


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))
