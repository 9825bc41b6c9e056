"""A cost that a float would round is refused, in one command and in a batch."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from api.web.input.exact_numbers import require_exact_cost, without_inexact_costs
from api.web.input.json_text import DEEPEST
from api.web.input.ndjson import items
from domain.errors import Invalid

EXACT, ROUNDED = b"0.30000000000000004", b"0.100000000000000012345"
WITH = b'{"cost": %b}'


def places(commands: list[Any]) -> list[str | None]:
    """For each command the path of its refusal, or None."""
    return [
        each.members["errors"][0]["path"] if isinstance(each, Invalid) else None
        for each in commands
    ]


@pytest.mark.parametrize("cost", [EXACT, b"0.1", b"123456789012345.5", b"1e-300"])
def test_cost_that_a_float_represents_exactly_is_accepted(cost: bytes) -> None:
    require_exact_cost(WITH % cost)


@pytest.mark.parametrize(
    ("body", "path"), [(WITH, "cost"), (b'{"usage": {"cost": %b}}', "usage.cost")]
)
def test_cost_that_would_be_rounded_is_refused_with_its_path(body: bytes, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        require_exact_cost(body % ROUNDED)
    assert refused.value.members["errors"][0]["path"] == path


@pytest.mark.parametrize("cost", [b"1e-400", b"-2.5E-330", b"1e-0400", b"1e-9999999999999999999"])
def test_cost_that_would_become_zero_is_refused(cost: bytes) -> None:
    with pytest.raises(Invalid, match="double-precision"):
        require_exact_cost(WITH % cost)


@pytest.mark.parametrize(("start", "between", "end"), [(b"[", b",", b"]"), (b"", b"\n\n", b"\n")])
def test_rounded_cost_in_a_batch_refuses_only_its_command(
    start: bytes, between: bytes, end: bytes
) -> None:
    commands = [b'{"a": 1}', WITH % ROUNDED, WITH % EXACT]
    given = [orjson.loads(command) for command in commands]
    found = without_inexact_costs(start + between.join(commands) + end, given)
    assert places(found) == [None, "cost", None]
    assert (found[0], found[2]) == (given[0], given[2])


def test_costs_of_other_lines_are_checked_beside_a_line_with_too_many_levels() -> None:
    deep = b'{"state": ' + b"[" * 1000 + b"]" * 1000 + b"}"
    body = b"\n".join([deep, WITH % ROUNDED, WITH % EXACT])
    found = without_inexact_costs(body, items(body))
    assert places(found) == ["", "cost", None]


def test_cost_beside_too_many_levels_is_refused_for_the_levels() -> None:
    deep = b'{"state": ' + b"[" * 100_000 + b"]" * 100_000 + b', "cost": %b}' % ROUNDED
    with pytest.raises(Invalid, match=f"at most {DEEPEST} levels"):
        require_exact_cost(deep)
