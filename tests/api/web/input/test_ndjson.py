"""The items of a request body with many commands."""

from __future__ import annotations

import pytest

from api.web.input.ndjson import items
from domain.errors import Invalid


@pytest.mark.parametrize(("number", "levels"), [(b"1", 1_000), (b"1234567890123456789", 200)])
def test_item_of_a_list_that_is_too_deep_is_refused_alone(number: bytes, levels: int) -> None:
    good, deep = items(b"[%b,%b]" % (number, b"[" * levels + b"]" * levels))
    assert good == int(number)
    assert isinstance(deep, Invalid)
