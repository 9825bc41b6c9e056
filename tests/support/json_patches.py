"""JSON patches, applied in Python."""

from __future__ import annotations

import copy
from typing import Any

import orjson

from projections.history.json_patch import Change


def applied(document: Any, patch: list[Change]) -> Any:
    """RFC 6902, as far as `add`, `remove` and `replace` go; strict about what must be there."""
    whole = {"": copy.deepcopy(document)}
    for change in patch:
        *way, last = ["", *map(unescaped, change.path.split("/")[1:])]
        place: Any = whole
        for key in way:
            place = place[int(key)] if isinstance(place, list) else place[key]
        value = copy.deepcopy(change.value)
        if isinstance(place, list):
            index = int(last)
            assert index <= len(place) - (change.op != "add")
            place[index : index + (change.op != "add")] = [value] if change.op != "remove" else []
        elif change.op == "remove":
            del place[last]
        else:
            assert change.op == "add" or last in place
            place[last] = value
    return whole[""]


def unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def same(one: Any, other: Any) -> bool:
    """As JSON: 1 is not true, and members have no order."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        other, option=orjson.OPT_SORT_KEYS
    )
