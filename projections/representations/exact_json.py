"""JSON of the service, read so that it is written again with all its digits."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson

DIGITS = bytes(ord("0") if chr(code) in "0123456789." else ord(" ") for code in range(256))
LONG_NUMBER = b"0" * 16
"""What perhaps has more digits than a float, once every digit and every point is a 0: found sooner than by a pattern."""
LONGEST_INTEGER = 18
"""Digits that every 64 bits hold."""


def exact_json(text: bytes) -> Any:
    """The value of a JSON text. Numbers that no float, nor 64 bits, hold are decimals.

    Raises:
        ValueError: it is not well-formed.
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
