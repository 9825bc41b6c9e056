"""Applies JSON patches in Python."""

from __future__ import annotations

import copy
from typing import Any

import orjson

from projections.history.json_patch import Change


def apply_patch(document: Any, patch: list[Change]) -> Any:
    """RFC 6902, limited to `add`, `remove` and `replace`; strict about members that must exist."""
    whole = {"": copy.deepcopy(document)}
    for change in patch:
        *way, last = ["", *map(unescape, change.path.split("/")[1:])]
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


def unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def same(one: Any, other: Any) -> bool:
    """Equality as JSON: 1 is not true, and members have no order."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        other, option=orjson.OPT_SORT_KEYS
    )
