"""What is asked of analytics, and the answer: figures for all that is meant, and for each group.

Percentiles are those of `percentile_cont`: exact, and between two durations where the rank falls
between two; a mean is the exact sum divided once. Both are rounded to whole milliseconds.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, localcontext
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from domain.execution.types import Status
from domain.types import EXACT, plain_number

By = Literal["service", "assignee", "day", "status", "errorCode"]
COLUMNS = {
    "service": "service",
    "order": '"order"',
    "customer": "customer",
    "provider": "provider",
    "assignee": "assignee",
    "day": "day",
    "status": "status",
    "errorCode": "error_code",
}
SLICED = frozenset({"service", "assignee", "customer", "provider", "day"})
RANKED = SLICED | {"status"}
"""What the durations are indexed by."""
SHARES = (0.5, 0.95, 0.99, 1.0)
UNKNOWN = "UNKNOWN"
STATUSES = tuple(status.value for status in Status)

SNAPSHOT = """SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    LOCK TABLE analytics_facts, analytics_totals, analytics_spread IN ACCESS SHARE MODE"""
PLACE = "SELECT position, generation FROM bookmarks WHERE view = 'analytics'"
FROM_TOTALS = """SELECT {group}, status, error_code, sum(executions)::bigint, sum(judged)::bigint,
    sum(succeeded)::bigint, sum(ended)::bigint, sum(duration), sum(cost), sum(tokens), sum(api_calls)
    FROM analytics_totals WHERE {where} GROUP BY 1, 2, 3 HAVING sum(executions) > 0"""
FROM_FACTS = """SELECT {group}, status, error_code, count(*), count(success),
    count(*) FILTER (WHERE success), count(duration), coalesce(sum(duration), 0), sum(cost),
    sum(tokens), sum(api_calls) FROM analytics_facts WHERE {where} GROUP BY 1, 2, 3"""
OCTAVES = """SELECT value, array_agg(octave ORDER BY octave), array_agg(ended ORDER BY octave)
    FROM analytics_spread WHERE slice = %b AND (%b::text IS NULL OR value = %b) AND ended > 0
    GROUP BY value"""
BY_RANK = """SELECT (SELECT array_agg(duration) FROM (
        SELECT duration FROM analytics_facts WHERE {where} AND duration >= wanted.least
        ORDER BY duration OFFSET wanted.place LIMIT 2) AS two)
    FROM unnest(%b::text[], %b::bigint[], %b::bigint[]) WITH ORDINALITY
        AS wanted (value, least, place, nth) ORDER BY wanted.nth"""
BY_SORTING = """SELECT {group}, percentile_cont(%s::float8[]) WITHIN GROUP (ORDER BY duration)
    FROM analytics_facts WHERE {where} AND duration IS NOT NULL GROUP BY 1"""


@dataclass(frozen=True, slots=True)
class Question:
    """Which executions are meant, and how to group them.

    `only` names service, order, customer, provider or status; `scope` the same, and holds as well,
    whatever the caller asked. `since` (inclusive) and `until` (exclusive) limit the creation.
    """

    by: By | None = None
    only: Mapping[str, str] = field(default_factory=dict)
    scope: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None

    @property
    def conditions(self) -> list[tuple[str, str]]:
        """Names and values that must all be equal."""
        return list(dict.fromkeys([*self.only.items(), *self.scope.items()]))

    @property
    def timed(self) -> bool:
        """Whether the time of creation matters."""
        return self.since is not None or self.until is not None

    @property
    def slice(self) -> tuple[str, str | None] | None:
        """The slice of the totals that holds the answer; None where only the facts do."""
        limits = [condition for condition in self.conditions if condition[0] != "status"]
        if self.timed or len(limits) > 1 or not {name for name, _ in limits} <= SLICED:
            return None
        grouped = self.by if self.by in SLICED else None
        if not limits:
            return (grouped, None) if grouped else ("", None)
        return limits[0] if grouped in (None, limits[0][0]) else None


class Answer(NamedTuple):
    """Figures, ready for JSON (not to be changed), as of a position of the log."""

    document: dict[str, Any]
    position: int


class Cell(NamedTuple):
    """Sums over executions of one group that share status and error code."""

    group: str
    status: str
    error_code: str
    executions: int
    judged: int
    succeeded: int
    ended: int
    duration: Decimal
    cost: Decimal
    tokens: Decimal
    api_calls: Decimal


class Figures:
    """Answers questions; what it answered holds until the view has moved on."""

    def __init__(self, capacity: int = 100) -> None:
        self._capacity = capacity
        self._place: object = None
        self._given: OrderedDict[object, Answer] = OrderedDict()

    async def answer(self, connection: AsyncConnection, question: Question) -> Answer:
        """The figures that answer a question; the connection must not be in a transaction."""
        asked = question.by, frozenset(question.conditions), question.since, question.until
        async with connection.transaction():
            await connection.execute(SNAPSHOT)
            place = await (await connection.execute(PLACE)).fetchone()
            if place == self._place and asked in self._given:
                return self._given[asked]
            given = Answer(await _document(connection, question), place[0] if place else 0)
        self._keep(place, asked, given)
        return given

    def _keep(self, place: object, asked: object, given: Answer) -> None:
        if place != self._place:
            self._place = place
            self._given.clear()
        self._given[asked] = given
        if len(self._given) > self._capacity:
            self._given.popitem(last=False)


async def _document(connection: AsyncConnection, question: Question) -> dict[str, Any]:
    cells = await _cells(connection, question)
    spread = await _percentiles(connection, question, None)
    document: dict[str, Any] = _figures(cells, spread.get(""))
    if question.by:
        groups = _grouped(cells, question.by)
        spread = await _percentiles(connection, question, question.by)
        document["by"] = question.by
        document["groups"] = [
            {"key": _key(key, question.by), **_figures(groups[key], spread.get(key))}
            for key in sorted(groups)
        ]
    return document


async def _cells(connection: AsyncConnection, question: Question) -> list[Cell]:
    values: list[Any] = []
    if question.slice is None:
        group = COLUMNS[question.by] if question.by else "''"
        query = FROM_FACTS.format(group=group, where=_where(question, values))
    else:
        group, where = _part(question, question.slice, values)
        query = FROM_TOTALS.format(group=group, where=where)
    cursor = await connection.execute(query, values, binary=True)
    return [Cell(*row) for row in await cursor.fetchall()]


def _part(question: Question, part: tuple[str, str | None], values: list[Any]) -> tuple[str, str]:
    """Group and condition that read the right part of the totals."""
    conditions = [("slice", part[0]), ("value", part[1])]
    conditions += [limit for limit in question.conditions if limit[0] == "status"]
    known = [(column, bound) for column, bound in conditions if bound is not None]
    values += [bound for _, bound in known]
    by = question.by
    group = "value" if by in SLICED else COLUMNS[by] if by else "''"
    return group, " AND ".join(f"{column} = %s" for column, _ in known)


async def _percentiles(
    connection: AsyncConnection, question: Question, by: By | None
) -> dict[str, list[float]]:
    """The durations at `SHARES`, of each group or of all; by rank where an index has their order."""
    limits = [*question.conditions, *([(by, None)] if by else [])]
    if question.timed or len(limits) > 1 or not {name for name, _ in limits} <= RANKED:
        return await _by_sorting(connection, question, by)
    slice_, value = limits[0] if limits else ("", None)
    cursor = await connection.execute(OCTAVES, (slice_, value, value), binary=True)
    places = [
        (key, fraction, least, place)
        for key, octaves, counts in await cursor.fetchall()
        for least, place, fraction in _places(octaves, counts)
    ]
    if not places:
        return {}
    keys, fractions, *columns = ([*column] for column in zip(*places, strict=True))
    where = f"{slice_} = wanted.value" if slice_ else "true"
    query = BY_RANK.format(where=where)
    cursor = await connection.execute(query, (keys, *columns), binary=True)
    spread: dict[str, list[float]] = {}
    for key, fraction, (two,) in zip(keys, fractions, await cursor.fetchall(), strict=True):
        spread.setdefault(key if by else "", []).append(_between(two, fraction))
    return spread


async def _by_sorting(
    connection: AsyncConnection, question: Question, by: By | None
) -> dict[str, list[float]]:
    values: list[Any] = [list(SHARES)]
    where = _where(question, values)
    if by == "errorCode":
        where += " AND status = 'failed'"
    query = BY_SORTING.format(group=COLUMNS[by] if by else "''", where=where)
    cursor = await connection.execute(query, values, prepare=False, binary=True)
    return dict(await cursor.fetchall())


def _where(question: Question, values: list[Any]) -> str:
    parts = [f"{COLUMNS[name]} = %s" for name, _ in question.conditions]
    values += [value for _, value in question.conditions]
    for time, limit in ((question.since, "created_at >= %s"), (question.until, "created_at < %s")):
        if time is not None:
            parts.append(limit)
            values.append(time)
    return " AND ".join(parts) or "true"


def _places(octaves: Sequence[int], counts: Sequence[int]) -> Iterator[tuple[int, int, float]]:
    """For each share: where its octave begins, the rank in it, and how far on to the next rank."""
    before = [0, *accumulate(counts)]
    for share in SHARES:
        rank = share * (before[-1] - 1)
        nth = bisect_right(before, math.floor(rank)) - 1
        yield (1 << octaves[nth]) >> 2, math.floor(rank) - before[nth], rank - math.floor(rank)


def _between(two: Sequence[int], fraction: float) -> float:
    return two[0] + fraction * (two[1] - two[0]) if fraction else two[0]


def _grouped(cells: Iterable[Cell], by: By) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if by != "errorCode" or cell.status == Status.FAILED:
            groups.setdefault(cell.group, []).append(cell)
    return groups


def _key(group: str, by: By) -> str | None:
    return group or (UNKNOWN if by == "errorCode" else None)


def _figures(cells: Sequence[Cell], spread: Sequence[float] | None) -> dict[str, Any]:
    statuses, codes = dict.fromkeys(STATUSES, 0), Counter[str]()
    for cell in cells:
        statuses[cell.status] += cell.executions
        if cell.status == Status.FAILED:
            codes[cell.error_code or UNKNOWN] += cell.executions
    with localcontext(EXACT):
        amounts = [sum(column) for column in list(zip(*cells, strict=True))[3:]] or [0] * 8
    total, judged, succeeded, ended, duration, cost, tokens, api_calls = amounts
    return {
        "total": total,
        "statuses": statuses,
        "successRate": _rate(statuses[Status.COMPLETED], total),
        "resultSuccessRate": _rate(succeeded, judged),
        "duration": _durations(ended, Decimal(duration), spread),
        "totalCost": plain_number(Decimal(cost)),
        "tokens": int(tokens),
        "apiCalls": int(api_calls),
        "errorCodes": dict(sorted(codes.items())),
    }


def _rate(part: int, whole: int) -> float | None:
    """0 and 1 without a fraction."""
    if not whole:
        return None
    return part / whole if 0 < part < whole else part // whole


def _durations(
    ended: int, duration: Decimal, spread: Sequence[float] | None
) -> dict[str, int | None]:
    mean = round(duration / ended) if ended else None
    p50, p95, p99, longest = map(round, spread) if spread else (None,) * 4
    return {"count": ended, "mean": mean, "p50": p50, "p95": p95, "p99": p99, "max": longest}
