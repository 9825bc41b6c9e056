"""Splits a condition into a span of time on one field, and the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from projections.query.ast import And, Compare, Condition, Not, Or

MILLISECOND, DAY = timedelta(milliseconds=1), timedelta(days=1)


class Span(NamedTuple):
    """Times from `since` on and before `until`, in UTC; None for no limit."""

    since: datetime | None = None
    until: datetime | None = None

    def within(self, other: Span) -> Span:
        """What both have in common."""
        sinces = [one for one in (self.since, other.since) if one is not None]
        untils = [one for one in (self.until, other.until) if one is not None]
        return Span(max(sinces, default=None), min(untils, default=None))

    def whole_days(self) -> Span | None:
        """The days that lie in it from beginning to end; None where there is none.

        Raises:
            OverflowError: it begins within the last day that there is.
        """
        first, last = (limit and _midnight(limit) for limit in self)
        if first and first != self.since:
            first += DAY
        return None if first and last and first >= last else Span(first, last)

    def edges(self, days: Span) -> Iterator[Span]:
        """The parts of days with which it begins and ends, before and behind its whole days."""
        if self.since != days.since:
            yield Span(self.since, days.since)
        if self.until != days.until:
            yield Span(days.until, self.until)

    def days(self) -> tuple[str | None, str | None]:
        """The days at whose midnights it begins and ends, as texts that compare like days."""
        since, until = (limit.date().isoformat() if limit else None for limit in self)
        return since, until


class Limited(NamedTuple):
    """What a condition means beside the span that it limits a field to, which it compares nowhere else."""

    condition: And
    span: Span

    @classmethod
    def by(cls, condition: Condition, column: str) -> Limited:
        """The condition apart from its span of a column.

        Raises:
            OverflowError: a span goes beyond the times that there are.
        """
        span, others = Span(), list[Condition]()
        for part in _parts(condition):
            limit = _limit(part, column)
            if limit is None:
                others.append(part)
            else:
                span = span.within(limit)
        return cls(And(tuple(others)), span)

    @property
    def columns(self) -> frozenset[str]:
        """The columns that are compared beside the span."""
        return frozenset(_compared_fields(self.condition))


def between(column: str, limits: Sequence[Any], values: list[Any]) -> str:
    """The condition that a column is not below the first limit, and below the second; None for no limit. What has
    to be bound is appended to `values`.
    """
    known = [(sign, limit) for sign, limit in zip((">=", "<"), limits, strict=True) if limit]
    values += [limit for _, limit in known]
    return " AND ".join(f"{column} {sign} %s" for sign, _ in known) or "true"


def _limit(part: Condition, column: str) -> Span | None:
    """The span that a comparison means; None where it means something else. Times have no parts of milliseconds."""
    if not isinstance(part, Compare) or part.field.column != column:
        return None
    match part.operator, part.operands[0]:
        case "$gte", datetime() as operand:
            return Span(since=operand)
        case "$gt", datetime() as operand:
            return Span(since=operand + MILLISECOND)
        case "$lt", datetime() as operand:
            return Span(until=operand)
        case "$lte", datetime() as operand:
            return Span(until=operand + MILLISECOND)
    return None


def _parts(condition: Condition) -> Iterator[Condition]:
    if not isinstance(condition, And):
        yield condition
        return
    for part in condition.parts:
        yield from _parts(part)


def _compared_fields(condition: Condition) -> Iterator[str]:
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _compared_fields(part)
        case Not(part):
            yield from _compared_fields(part)
        case Compare(field):
            yield field.column


def _midnight(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)
