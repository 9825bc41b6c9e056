"""The JSON of a log, read so that it is written again with all its digits."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import orjson

LONG_NUMBER = re.compile(rb"[0-9][0-9.]{15}")
"""Perhaps more digits than a float has."""
LONGEST_INTEGER = 18
"""Digits that every 64 bits hold."""


def exact_json(text: bytes) -> Any:
    """The value of a JSON text. Numbers that no float, nor 64 bits, hold are decimals.

    Raises:
        ValueError: it is not well-formed.
    """
    if LONG_NUMBER.search(text) is None:
        return orjson.loads(text)
    return json.loads(text, parse_int=_integer, parse_float=_fraction, parse_constant=_refuse)


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= LONGEST_INTEGER else Decimal(digits)


def _fraction(digits: str) -> float | Decimal:
    nearest, exact = float(digits), Decimal(digits)
    return nearest if Decimal(str(nearest)) == exact else exact


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
