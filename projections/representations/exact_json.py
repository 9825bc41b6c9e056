"""Reads JSON without losing digits of numbers, so that writing it again gives the same numbers."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson

DIGITS = bytes(ord("0") if chr(code) in "0123456789." else ord(" ") for code in range(256))
LONG_NUMBER = b"0" * 16
"""A run of digits that may be too long for a float, after `DIGITS` has mapped each digit and point to `0`. Searching for
it is faster than a regular expression."""
LONGEST_INTEGER = 18
"""Digits of an integer that always fit into 64 bits."""


def exact_json(text: bytes) -> Any:
    """Return the value of a JSON text. Numbers that neither a float nor a 64-bit integer represents exactly are decimals.

    Raises:
        ValueError: the text is not well-formed JSON.
    """
    if LONG_NUMBER not in text.translate(DIGITS):
        return orjson.loads(text)
    return json.loads(text, parse_int=_integer, parse_float=_fraction, parse_constant=_refuse)


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= LONGEST_INTEGER else Decimal(digits)


def _fraction(digits: str) -> float | Decimal:
    nearest, exact = float(digits), Decimal(digits)
    return nearest if Decimal(str(nearest)) == exact else exact


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
