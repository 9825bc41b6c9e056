"""Refuses costs that would be rounded: costs are stored exactly, but JSON numbers are parsed as double-precision floats.

A cost that no float represents as it is written is found in the text of the body.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from api.web.input.json_text import DEEPEST
from domain.errors import DomainError, Invalid

INEXACT_COST = re.compile(rb'"cost"\s*:\s*-?(?:[0-9.]{16}|[0-9.]+[eE]-0*[1-9][0-9]{2})')
"""A cost of 16 or more characters, or below 10 to the power of -99: a float represents every other number."""
PATHS = (("cost",), ("usage", "cost"))
"""The paths of costs in a command."""


def require_exact_cost(body: bytes) -> None:
    """Raises Invalid where a cost in the body of a command would be rounded."""
    if b'"cost"' in body and INEXACT_COST.search(body):
        _check(_exact(body))


def without_inexact_costs(body: bytes, items: list[Any]) -> list[Any]:
    """The commands of a body of several, each command whose cost would be rounded replaced by the refusal."""
    if b'"cost"' not in body or not INEXACT_COST.search(body):
        return items
    if body.lstrip()[:1] == b"[":
        return [_check_item(*pair) for pair in zip(items, _exact(body), strict=True)]
    lines = [line for line in body.rstrip().splitlines() if line.strip()]
    return [_check_line(*pair) for pair in zip(items, lines, strict=True)]


def _exact(text: bytes) -> Any:
    try:
        return json.loads(text, parse_float=_decimal, parse_int=Decimal)
    except RecursionError:  # this parser takes fewer levels than the others
        raise Invalid.field("", f"must have at most {DEEPEST} levels") from None


def _decimal(text: str) -> Decimal:
    """The number; not a number, which no float represents, where its exponent is beyond what a decimal can have."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


def _check_line(item: Any, line: bytes) -> Any:
    """Check the command of a line, unless it is refused already: it may be too deep for the exact parser."""
    return item if isinstance(item, DomainError) else _check_item(item, _exact(line))


def _check_item(item: Any, exact: Any) -> Any:
    try:
        _check(exact)
    except Invalid as error:
        return error
    return item


def _check(command: Any) -> None:
    for path in PATHS:
        found = command
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, Decimal) and Decimal(str(float(found))) != found:
            raise Invalid.field(
                ".".join(path),
                "must be a number that a double-precision float holds as it is written, of at most "
                f"17 significant digits, but is {str(found)[:60]}",
            )
