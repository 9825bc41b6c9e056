"""Writes executions as CSV, without sealed content, and without cells that a spreadsheet would execute."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from decimal import Decimal
from io import StringIO
from typing import Any

from projections.representations.exact_json import exact_json

COLUMNS = (
    *("$id", "status", "progress", "order", "service", "workflow", "customer", "provider"),
    *("assignee.type", "assignee.id", "assignee.name", "assignee.model", "priority", "tags"),
    *("error.code", "error.step", "metadata.createdAt", "metadata.startedAt"),
    *("metadata.completedAt", "metadata.updatedAt", "metrics.duration", "metrics.activeDuration"),
    *("metrics.cost", "metrics.currency", "metrics.tokensUsed", "metrics.apiCalls"),
    *("metrics.retries", "metrics.stepsCompleted", "metrics.stepsTotal", "version", "position"),
)
"""The members of the document in the columns, none of which is sealed."""
BEGINS = "[=+\\-@\uff1d\uff0b\uff0d\uff20]"  # the wide forms, too
FORMULA = re.compile(rf"^(?={BEGINS}|[\t\r\n])|(?<=[;\t\r\n])(?={BEGINS})")
"""Where a formula may begin in a cell (OWASP, "CSV Injection"): at its start, and behind what separates cells in some languages."""
BYTE_ORDER_MARK = "\ufeff"
"""Makes spreadsheets recognize UTF-8."""


def header() -> str:
    """The row of names, before all others."""
    return BYTE_ORDER_MARK + _text([COLUMNS])


def rows(documents: Iterable[bytes]) -> str:
    """One row for each document."""
    return _text(_row(exact_json(document)) for document in documents)


def _row(document: dict[str, Any]) -> list[str]:
    return [_cell(_member(document, path.split("."))) for path in COLUMNS]


def _member(found: Any, keys: list[str]) -> Any:
    for key in keys:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


def _cell(value: Any) -> str:
    """A value as text. A text gets an apostrophe where it would begin a formula; numbers stay numbers."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = ",".join(map(str, value))
    if isinstance(value, Decimal):
        return format(value, "f")
    if not isinstance(value, str):
        return str(value)
    return FORMULA.sub("'", value)


def _text(rows: Iterable[Iterable[str]]) -> str:
    lines = StringIO()
    csv.writer(lines).writerows(rows)
    return lines.getvalue()
