"""Costs are kept exactly, but JSON numbers are read as double-precision floats.

What no float holds as it is written is found in the text, and refused rather than rounded.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from api.web.input.json_text import DEEPEST
from domain.errors import DomainError, Invalid

LONG_COST = re.compile(rb'"cost"\s*:\s*-?[0-9.]{16}')
"""With up to 15 digits every number is held."""
PATHS = (("cost",), ("usage", "cost"))
"""Where a cost stands in a command."""


def require_exact_cost(body: bytes) -> None:
    """Raises Invalid where a cost in the command that is the body would be rounded."""
    if b'"cost"' in body and LONG_COST.search(body):
        _check(_exact(body))


def without_inexact_costs(body: bytes, items: list[Any]) -> list[Any]:
    """The commands of a body of many, with the refusal in the place of each that has such a cost."""
    if b'"cost"' not in body or not LONG_COST.search(body):
        return items
    if body.lstrip()[:1] == b"[":
        return [_check_item(*pair) for pair in zip(items, _exact(body), strict=True)]
    lines = [line for line in body.rstrip().splitlines() if line.strip()]
    return [_check_line(*pair) for pair in zip(items, lines, strict=True)]


def _exact(text: bytes) -> Any:
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except RecursionError:  # this parser gives up before others do
        raise Invalid.field("", f"must have at most {DEEPEST} levels") from None


def _check_line(item: Any, line: bytes) -> Any:
    """One that is refused already stays so: it may be deeper than the exact parser bears."""
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
