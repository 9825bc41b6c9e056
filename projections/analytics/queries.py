"""Answers questions to analytics: with figures for all rows that a question covers, and for each group.

Percentiles are exact, as those of PostgreSQL's `percentile_cont`: interpolated if the rank falls between two durations.
A mean is the exact sum divided by the count. Both are rounded to whole milliseconds.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.errors import TooExpensive
from domain.eventlog.sessions import ONE_MOMENT
from domain.execution.types import Status, StepStatus
from domain.types import EXACT, plain_number
from projections.analytics import creation_times
from projections.analytics.analytics_query import (
    COLUMNS,
    RANKED,
    SLICED,
    AnalyticsQuery,
    By,
    Group,
    columns,
    only_failed,
    source,
)
from projections.analytics.creation_times import MOST_LOOKED_UP, CreationTimes
from projections.analytics.percentiles import percentiles

MOST_GROUPS = 5_000
UNKNOWN = "UNKNOWN"
STATUSES = tuple(status.value for status in Status)
STEP_STATUSES = tuple(status.value for status in StepStatus)

SNAPSHOT = f"""{ONE_MOMENT};
    LOCK TABLE analytics_facts, analytics_totals, analytics_spread, analytics_steps IN ACCESS SHARE MODE"""
BOOKMARK = "SELECT position, generation FROM bookmarks WHERE view = 'analytics'"
FROM_TOTALS = """SELECT {group}, '', status, error_code, sum(executions)::bigint,
    sum(judged)::bigint, sum(succeeded)::bigint, sum(ended)::bigint, sum(duration), sum(cost),
    sum(tokens), sum(api_calls), NULL::timestamptz, NULL::timestamptz
    FROM analytics_totals WHERE {where} GROUP BY 1, 3, 4 HAVING sum(executions) > 0"""
AMOUNTS = """count(duration), coalesce(sum(duration), 0), sum(cost), sum(tokens), sum(api_calls),
    min(created_at), max(created_at)"""
FROM_ROWS = f"""SELECT {{one}}, {{other}}, status, error_code, count(*), {{judged}}, {AMOUNTS}
    FROM {{table}} WHERE {{where}} GROUP BY 1, 2, 3, 4"""
JUDGED, NOT_JUDGED = "count(success), count(*) FILTER (WHERE success)", "0::bigint, 0::bigint"


class AnalyticsResult(NamedTuple):
    """The figures as a JSON document, which must not be changed, as of a position of the log."""

    document: dict[str, Any]
    position: int


class Cell(NamedTuple):
    """Sums over the executions, or runs of steps, that share the group, the status and the error code."""

    key: str
    other: str
    status: str
    error_code: str
    number: int
    judged: int
    succeeded: int
    ended: int
    duration: Decimal
    cost: Decimal
    tokens: Decimal
    api_calls: Decimal
    first: datetime | None
    last: datetime | None


class AnalyticsQueries:
    """Answers questions, and caches the answers until the position of the view changes."""

    def __init__(self, capacity: int = 100) -> None:
        self._capacity = capacity
        self._bookmark: object = None
        self._given: OrderedDict[object, AnalyticsResult] = OrderedDict()

    async def answer(
        self, connection: AsyncConnection, question: AnalyticsQuery
    ) -> AnalyticsResult:
        """Return the figures that answer a question. The connection must not be in a transaction."""
        asked = question.keys, frozenset(question.conditions), question.since, question.until
        async with connection.transaction():
            await connection.execute(SNAPSHOT)
            bookmark = await (await connection.execute(BOOKMARK)).fetchone()
            if bookmark == self._bookmark and asked in self._given:
                return self._given[asked]
            given = AnalyticsResult(
                await _document(connection, question), bookmark[0] if bookmark else 0
            )
        self._cache(bookmark, asked, given)
        return given

    def _cache(self, bookmark: object, asked: object, given: AnalyticsResult) -> None:
        if bookmark != self._bookmark:
            self._bookmark = bookmark
            self._given.clear()
        self._given[asked] = given
        if len(self._given) > self._capacity:
            self._given.popitem(last=False)


async def _document(connection: AsyncConnection, question: AnalyticsQuery) -> dict[str, Any]:
    cells = await _cells(connection, question)
    whole = replace(question, by="step" if question.steps else None)
    everything: dict[Group, list[Cell]] = {(): cells}
    spread = await percentiles(connection, whole, ())
    seen = await _read_seen(connection, whole, (), everything)
    statuses = STEP_STATUSES if question.steps else STATUSES
    document: dict[str, Any] = {"of": "steps"} if question.steps else {}
    document |= _figures(cells, statuses, spread.get(()), seen.get((), CreationTimes()))
    if keys := question.keys:
        groups = _group(cells, keys)
        if len(groups) > MOST_GROUPS:
            raise TooExpensive(
                f"These are more than {MOST_GROUPS} groups: limit them by `from` and `to`, "
                "or group by one key.",
                indexedFields=["from", "to", "service", "order", "customer", "provider"],
            )
        spread = await percentiles(connection, question, keys)
        seen = await _read_seen(connection, question, keys, groups)
        document["by"] = list(keys) if len(keys) > 1 else keys[0]
        document["groups"] = [
            {
                "key": _key(group, keys),
                **_figures(
                    groups[group], statuses, spread.get(group), seen.get(group, CreationTimes())
                ),
            }
            for group in sorted(groups)
        ]
    return document


async def _cells(connection: AsyncConnection, question: AnalyticsQuery) -> list[Cell]:
    values: list[Any] = []
    if question.slice is None or question.steps:
        one, other = columns(question, question.keys)
        table, condition = source(question, values)
        judged = NOT_JUDGED if question.steps else JUDGED
        named = {"one": one, "other": other, "judged": judged, "table": table}
        query = FROM_ROWS.format(**named, where=condition)
    else:
        group, condition = _part(question, question.slice, values)
        query = FROM_TOTALS.format(group=group, where=condition)
    cursor = await connection.execute(query, values, binary=True)
    return [Cell(*row) for row in await cursor.fetchall()]


def _part(
    question: AnalyticsQuery, part: tuple[str, str | None], values: list[Any]
) -> tuple[str, str]:
    """Return the SQL of the group and the condition that reads a slice of the totals; values are appended to `values`."""
    conditions = [("slice", COLUMNS.get(part[0], "")), ("value", part[1])]
    conditions += [limit for limit in question.conditions if limit[0] == "status"]
    known = [(column, bound) for column, bound in conditions if bound is not None]
    values += [bound for _, bound in known]
    by = next(iter(question.keys), None)
    group = "value" if by in SLICED else COLUMNS[by] if by else "''"
    return group, " AND ".join(f"{column} = %s" for column, _ in known)


async def _read_seen(
    connection: AsyncConnection,
    question: AnalyticsQuery,
    keys: Sequence[By],
    groups: Mapping[Group, Sequence[Cell]],
) -> dict[Group, CreationTimes]:
    """Return the creation times of each group: from the cells if these were read from facts, else by an index, or by
    reading all facts that the question covers.
    """
    if question.steps or question.slice is None:
        return {
            group: CreationTimes.of([(cell.first, cell.last) for cell in cells])
            for group, cells in groups.items()
        }
    limits = [*question.conditions, *((key, None) for key in keys)]
    names = {name for name, _ in limits}
    if len(limits) <= 1 and names <= RANKED and len(groups) <= MOST_LOOKED_UP:
        wanted = [limit[1] or "" for limit in limits[:1]] or [""]
        values = [group[0] for group in groups] if keys else wanted
        column = next((COLUMNS[name] for name in names), None)
        found = await creation_times.look_up(connection, column, values)
    else:
        bound: list[Any] = []
        condition = source(question, bound)[1] + only_failed(keys)
        group = COLUMNS[keys[0]] if keys else "''"
        found = await creation_times.read(connection, group, condition, bound)
    return {(key,) if keys else (): seen for key, seen in found.items()}


def _group(cells: Iterable[Cell], keys: Sequence[By]) -> dict[Group, list[Cell]]:
    groups: dict[Group, list[Cell]] = {}
    for cell in cells:
        if "errorCode" not in keys or cell.status == Status.FAILED:
            groups.setdefault((cell.key, cell.other)[: len(keys)], []).append(cell)
    return groups


def _key(group: Group, keys: Sequence[By]) -> str | list[str | None] | None:
    """Return the value of the only key, or the list of the values of both keys."""
    shown = [
        value or (UNKNOWN if key == "errorCode" else None)
        for value, key in zip(group, keys, strict=True)
    ]
    return shown if len(shown) > 1 else shown[0]


def _figures(
    cells: Sequence[Cell], known: Sequence[str], spread: Sequence[float] | None, seen: CreationTimes
) -> dict[str, Any]:
    statuses, codes = dict.fromkeys(known, 0), Counter[str]()
    for cell in cells:
        statuses[cell.status] += cell.number
        if cell.status == Status.FAILED:
            codes[cell.error_code or UNKNOWN] += cell.number
    with localcontext(EXACT):
        amounts = [sum(column) for column in list(zip(*cells, strict=True))[4:12]] or [0] * 8
    total, judged, succeeded, ended, duration, cost, tokens, api_calls = amounts
    return {
        "total": total,
        "statuses": statuses,
        "successRate": rate(statuses[Status.COMPLETED], total),
        "resultSuccessRate": rate(succeeded, judged),
        "duration": _durations(ended, Decimal(duration), spread),
        "totalCost": plain_number(Decimal(cost)),
        "tokens": int(tokens),
        "apiCalls": int(api_calls),
        "errorCodes": dict(sorted(codes.items())),
        **seen.members(),
    }


def rate(part: int, whole: int) -> float | None:
    """Return the share of a part in a whole, as an integer if it is 0 or 1; None if the whole is 0."""
    if not whole:
        return None
    return part / whole if 0 < part < whole else part // whole


def _durations(
    ended: int, duration: Decimal, spread: Sequence[float] | None
) -> dict[str, int | None]:
    mean = round(duration / ended) if ended else None
    p50, p95, p99, longest = map(round, spread) if spread else (None,) * 4
    return {"count": ended, "mean": mean, "p50": p50, "p95": p95, "p99": p99, "max": longest}
