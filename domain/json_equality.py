"""Compares JSON values. In Python `True == 1` is true, but in JSON `true` and `1` differ."""

from __future__ import annotations

from typing import Any


def same_json(one: Any, other: Any, unknown: tuple[type, ...] = ()) -> bool:
    """Whether two JSON values are equal, at any depth: `1` equals `1.0`, but not `true`.

    The order of the members of objects does not matter. Sealed content equals only itself. Values of the types in `unknown`
    equal every value.
    """
    pending = [(one, other)]
    while pending:  # not recursive: clients choose the depth
        left, right = pending.pop()
        if left is right or isinstance(left, unknown) or isinstance(right, unknown):
            continue
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            pending.extend((value, right[name]) for name, value in left.items())
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pending.extend(zip(left, right, strict=True))
        elif isinstance(left, bool) != isinstance(right, bool) or left != right:
            return False
    return True
