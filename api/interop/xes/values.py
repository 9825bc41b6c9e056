"""Parses the typed values of XES by the rules of XML Schema."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Value = str | int | float | bool | datetime

WHITE_SPACE = " \t\r\n"
INT64 = 1 << 63

_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)T(?P<time>(?P<hour>\d\d):\d\d:\d\d(?:\.\d+)?)"
    r"(?P<zone>Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))?",
    re.ASCII,
)
_END_OF_DAY = re.compile(r"24:00:00(\.0+)?", re.ASCII)
_INT = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INFINITE = re.compile(r"([+-]?)inf(inity)?", re.ASCII | re.IGNORECASE)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def parse_date(text: str) -> datetime:
    """Parse xs:dateTime to UTC. A time without a zone is in UTC; 24:00:00 is the end of the day."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(text)
    if found["hour"] == "24":
        return _parse_end_of_day(found["date"], found["time"], found["zone"] or "")
    return _in_utc(datetime.fromisoformat(text))


def _parse_end_of_day(date: str, time: str, zone: str) -> datetime:
    if not _END_OF_DAY.fullmatch(time):
        raise ValueError(time)
    return _in_utc(datetime.fromisoformat(f"{date}T00:00:00{zone}") + timedelta(days=1))


def _in_utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def parse_int(text: str) -> int:
    if not _INT.fullmatch(text) or not -INT64 <= int(text) < INT64:
        raise ValueError(text)
    return int(text)


def parse_float(text: str) -> float:
    """Parse xs:double, with all common spellings of infinities and NaN."""
    if text.lower() == "nan":
        return math.nan
    if infinite := _INFINITE.fullmatch(text):
        return -math.inf if infinite[1] == "-" else math.inf
    if not _DECIMAL.fullmatch(text):
        raise ValueError(text)
    return float(text)


def parse_boolean(text: str) -> bool:
    if text not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text]


_PARSERS: dict[str, Callable[[str], Value] | None] = {
    "string": None,
    "id": None,
    "date": parse_date,
    "int": parse_int,
    "float": parse_float,
    "boolean": parse_boolean,
}
TYPES = frozenset(_PARSERS)


def parse_value(kind: str, text: str) -> Value | None:
    """Parse the value of an element of one of the `TYPES`; None for NaN.

    White space around values other than text is ignored.

    Raises:
        ValueError: the text is not of the type.
        OverflowError: a date is outside of the years 1 to 9999.
    """
    parse = _PARSERS[kind]
    if parse is None:
        return text
    value = parse(text.strip(WHITE_SPACE))
    return None if isinstance(value, float) and math.isnan(value) else value
