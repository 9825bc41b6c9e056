"""The fingerprint of JSON schemas, by which stored states and documents are recognized as those of the same classes."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def fingerprint(schemas: Any) -> str:
    """A hash of JSON schemas, which changes when a field, its type or its default changes.

    It does not change with a docstring, so that another wording discards no snapshot and rebuilds no view.
    """
    return hashlib.sha256(orjson.dumps(_without_docstrings(schemas))).hexdigest()[:16]


def _without_docstrings(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_docstrings(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_docstrings(value)
        for name, value in schema.items()
        if not (name == "description" and isinstance(value, str))  # the value of a field is a dict
    }
