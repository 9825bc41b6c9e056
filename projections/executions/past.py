"""Lists executions as they were at an earlier time, from the present rows and the log.

A row whose last event had been recorded by that time is unchanged: SQL filters, sorts and counts those rows. The states
of executions that changed since are loaded from the log as they were, and filtered here. So a list of the past costs as
much as one of the present, plus one state for each execution that changed since. SQL first narrows those executions
down by the fields that never change, and by the scope, which applies to the present rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cmp_to_key
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.damage import report, report_damaged
from domain.errors import Damaged, Invalid, TooExpensive, Unreadable
from domain.eventlog.codec import to_sealed_json
from domain.eventlog.store import Store
from domain.execution.state import Execution
from domain.model import Versioned
from projections.executions.columns import FIELDS, sortable, value_in
from projections.executions.page_query import SortValues, page_query, within_bytes
from projections.executions.projection import MOST_ROWS, ExecutionPage
from projections.executions.references import STREAM, Choose, Listed, whole
from projections.executions.stored_states import ShownRows, StoredRow
from projections.executions.tables import BOOKMARK
from projections.query import pagination
from projections.query.ast import EVERYTHING, And, Compare, Condition, Not, Or
from projections.query.matcher import matches
from projections.query.pagination import SortKey
from projections.query.sql import sql
from projections.representations.execution import document

MOST_FOLDED = 1_000
"""Executions changed since whose states are loaded for one list. More are refused with `TooExpensive`."""
TOO_MANY = f"""More than {MOST_FOLDED} executions that may be meant have changed since `at`: \
choose a later time, or narrow the list by one of `indexedFields`."""
STREAMS_AT_ONCE = 50
"""Streams whose states are loaded in one statement."""
FIRST_SORT_VALUE = 4 + len(StoredRow._fields)
"""The index in a result row at which the sort values begin, after four columns of `QUERY` and the `StoredRow`."""
LASTING = ("$id", "order", "service", "workflow", "customer", "provider", "metadata.createdAt")
"""Fields whose value never changes during the life of an execution."""

QUERY = """WITH touched AS MATERIALIZED (
        SELECT coalesce(array_agg(id), '{{}}') AS ids FROM (
            SELECT id FROM executions WHERE position > %s AND created_at <= %s AND {lasting}
            LIMIT {most}) AS part)
    SELECT known.position, CASE WHEN page.id IS NOT DISTINCT FROM first_value(page.id) OVER ()
        THEN (SELECT ids FROM touched) END, counted.total, page.* FROM ({bookmark}) AS known
    CROSS JOIN ({count}) AS counted
    LEFT JOIN ({page}) AS page ON true"""
COUNT = "SELECT count(*) AS total FROM executions WHERE {where}"
NO_COUNT = "SELECT NULL::bigint AS total"


class PastQuery(NamedTuple):
    """A list of the past, after the sort values `after`. `condition` applies to past states, `scope` to present rows."""

    condition: Condition
    scope: Condition
    keys: Sequence[SortKey]
    after: SortValues | None
    limit: int
    counts: bool
    choose: Choose


class Moment(NamedTuple):
    """A time, and the position of the last event recorded by that time."""

    at: datetime
    position: int


class Candidate(NamedTuple):
    """An execution that may be on the page, and its sort values."""

    sort_values: SortValues
    listed: Listed


class PastRows(NamedTuple):
    """The position of the view, the ids of the executions changed since, and the unchanged ones that meet the condition,
    with their `total` number. `cut`: some were left out, because together they are too large for a page.
    """

    position: int
    touched: list[str]
    total: int | None
    untouched: list[Candidate]
    cut: bool


class PastLists:
    """Lists executions as they were, from the log and the tables of the view of executions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shown = ShownRows(store.codec)

    async def moment(self, at: datetime) -> Moment:
        """Return the moment of a time; events recorded at exactly that time belong to it."""
        return Moment(at, await self._store.position_before(at + timedelta(microseconds=1)))

    async def find(
        self,
        connection: AsyncConnection,
        now: datetime,
        moment: Moment,
        condition: Condition,
        *,
        sort: str = pagination.DEFAULT_SORT,
        limit: int = 50,
        cursor: str | None = None,
        count: bool = False,
        choose: Choose = whole,
        scope: Condition = EVERYTHING,
    ) -> ExecutionPage:
        """Return a page of the executions that met `condition` at a moment, and meet `scope` now, as they were then.

        The view must have reached the moment. Durations of executions that had not ended count until the moment, but
        not beyond `now`. `choose` and the size of a page are those of `Executions.find`.

        Raises:
            Invalid: the sort, the limit or the cursor is not valid.
            TooExpensive: more than `MOST_FOLDED` executions that may belong to the list have changed since.
        """
        if not 1 <= limit <= MOST_ROWS:
            raise Invalid.field("limit", f"must be from 1 to {MOST_ROWS}, but is {limit}")
        keys = pagination.order(sort, sortable, FIELDS)
        sort_at = f"{sort} at {moment.at.isoformat()}"
        filtered = And((scope, condition))
        sort_values = (
            pagination.decode(cursor, sort_at, filtered, keys) if cursor is not None else None
        )
        question = PastQuery(condition, scope, keys, sort_values, limit, count, choose)
        until = min(moment.at, now)
        rows = await self._read_rows(connection, moment, question, until)
        folded, changed = await self._fold(connection, moment, question, rows.touched, until)
        found, more = _page([*rows.untouched, *folded], rows, question)
        following = pagination.encode(sort_at, filtered, found[-1].sort_values) if more else None
        total = None if rows.total is None else rows.total + changed
        return ExecutionPage([one.listed for one in found], following, rows.position, total)

    async def _read_rows(
        self, connection: AsyncConnection, moment: Moment, question: PastQuery, until: datetime
    ) -> PastRows:
        """Read the unchanged rows and the ids of the changed executions in one statement, so from one snapshot."""
        values: list[Any] = []
        query = _query(moment, question, values)
        cursor = await connection.execute(query, values, prepare=False, binary=True)
        rows = await cursor.fetchall()
        position, _, total, number = rows[0][:4]
        touched = next(row[1] for row in rows if row[1] is not None)
        if len(touched) > MOST_FOLDED:
            raise TooExpensive(TOO_MANY, indexedFields=list(LASTING))
        stored = [StoredRow(*row[4:FIRST_SORT_VALUE]).heard_until(until) for row in rows if number]
        documents = await self._shown.list_rows(connection, stored, until)
        found = [
            Candidate(row[FIRST_SORT_VALUE:], one.choose(question.choose))
            for row, one in zip(rows, documents, strict=False)
        ]
        cut = (number or 0) > len(rows)
        return PastRows(position, touched, total, _merge(found, question), cut)

    async def _fold(
        self,
        connection: AsyncConnection,
        moment: Moment,
        question: PastQuery,
        ids: Sequence[str],
        until: datetime,
    ) -> tuple[list[Candidate], int]:
        """Load the changed executions as they were; return the candidates among them, and how many met the condition."""
        streams = [STREAM + id_ for id_ in ids]
        versions = await self._store.states.versions_at(
            connection, [(stream, moment.position) for stream in streams]
        )
        existing = {stream: version for (stream, _), version in versions.items() if version}
        found: list[Candidate] = []
        total = 0
        for portion in _portions(existing):
            states = await self._load_states(connection, portion)
            for versioned in states.values():
                if matches(question.condition, value_in(versioned)):
                    total += 1
                    found += _candidates(versioned, question, until)
            found = _merge(found, question)
            await asyncio.sleep(0)
        return found, total

    async def _load_states(
        self, connection: AsyncConnection, versions: dict[str, int]
    ) -> dict[str, Versioned[Execution]]:
        """Return the states at these versions, without damaged ones, which cannot be compared with the condition."""
        while True:
            unreadable: dict[str, Unreadable] = {}
            try:
                found = await self._store.states.states_at(connection, versions, unreadable)
                report_damaged(unreadable)
                return found
            except Damaged as error:
                report(error)
                versions = {s: v for s, v in versions.items() if s != error.members["stream"]}


def _query(moment: Moment, question: PastQuery, values: list[Any]) -> str:
    values += [moment.position, moment.at]
    lasting = sql(And((question.scope, lasting_part(question.condition))), values)
    recorded_by = Compare(FIELDS["position"], "$lte", (moment.position,))
    untouched = And((recorded_by, question.scope, question.condition))
    count = NO_COUNT
    if question.counts:
        count = COUNT.format(where=sql(untouched, values))
    page = page_query(untouched, question.keys, question.after, question.limit + 1, values)
    return QUERY.format(
        bookmark=BOOKMARK, lasting=lasting, most=MOST_FOLDED + 1, count=count, page=page
    )


def lasting_part(condition: Condition) -> Condition:
    """Return the part of a condition on fields that never change: what does not meet the part never met the condition."""
    match condition:
        case And(parts):
            return And(tuple(lasting_part(part) for part in parts))
        case _ if _is_lasting(condition):
            return condition
    return And()


def _is_lasting(condition: Condition) -> bool:
    match condition:
        case And(parts) | Or(parts):
            return all(map(_is_lasting, parts))
        case Not(part):
            return _is_lasting(part)
        case Compare(field):
            return field.path in LASTING


def _portions(versions: Mapping[str, int]) -> list[dict[str, int]]:
    items = list(versions.items())
    return [
        dict(items[start : start + STREAMS_AT_ONCE])
        for start in range(0, len(items), STREAMS_AT_ONCE)
    ]


def _candidates(
    versioned: Versioned[Execution], question: PastQuery, until: datetime
) -> list[Candidate]:
    sort_values = [_rank(key, versioned) for key in question.keys]
    if question.after is not None and compare(sort_values, question.after, question.keys) <= 0:
        return []
    shown = Listed(versioned.state.id, to_sealed_json(document(versioned, until)))
    return [Candidate(sort_values, shown.choose(question.choose))]


def _rank(key: SortKey, versioned: Versioned[Execution]) -> Any:
    value = value_in(versioned)(key.field)
    return None if value is None else key.field.kind.rank(value)


def _page(
    candidates: Sequence[Candidate], rows: PastRows, question: PastQuery
) -> tuple[list[Candidate], bool]:
    """Return the candidates that the page shows, and whether more follow after the page."""
    found = _merge(candidates, question)
    if rows.cut:
        last = rows.untouched[-1].sort_values
        found = [one for one in found if compare(one.sort_values, last, question.keys) <= 0]
    shown = within_bytes(one.listed for one in found[: question.limit])
    return found[: len(shown)], rows.cut or len(found) > len(shown)


def _merge(found: Sequence[Candidate], question: PastQuery) -> list[Candidate]:
    """Sort the candidates, and drop those beyond the first one after the page, which shows that another page exists."""

    def order(one: Candidate, other: Candidate) -> int:
        return compare(one.sort_values, other.sort_values, question.keys)

    first = sorted(found, key=cmp_to_key(order))[: question.limit + 1]
    return first[: len(within_bytes(one.listed for one in first)) + 1]


def compare(one: SortValues, other: SortValues, keys: Sequence[SortKey]) -> int:
    """Compare two rows by their sort values: below zero if `one` comes first. Missing values come last, as in SQL."""
    for key, left, right in zip(keys, one, other, strict=True):
        if left == right:
            continue
        if left is None or right is None:
            return 1 if left is None else -1
        return (1 if left > right else -1) * (-1 if key.descending else 1)
    return 0
