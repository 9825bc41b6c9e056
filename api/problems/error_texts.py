"""Rewords the errors of pydantic plainly: what the value must be, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from domain.errors import but_is, describe, instead, kind_of

Words = Callable[[Mapping[str, Any], Any], str]
"""A function that makes the text of an error from its context and the wrong value."""
PATTERNS = {
    "A-Za-z0-9._~:-": "must be 1 to 255 characters of A-Z a-z 0-9 . _ ~ : -",
    r"^[^\x00-\x1f\x7f]*$": "must be one line, without control characters",
    r"^[^\x00]*$": r"must have no character NUL (\u0000)",
    "[!-~]{1,128}": "must be 1 to 128 printable ASCII characters, without spaces",
    "^https?:": "must be an http:// or https:// URL of at most 2048 characters, without spaces",
    "`|~0-9A-Za-z-]{1,255}": "must have only characters that the name of an HTTP header can have",
    r"\x0a-\x1f": "must have only characters that the value of an HTTP header can have",
}
"""The requirements of patterns, by a part of the pattern."""


def sentence(error: ErrorDetails) -> str:
    """The text of one error, which follows the path of a field."""
    words = TEXTS.get(error["type"])
    ctx = error.get("ctx", {})
    return words({"message": error["msg"], **ctx}, error["input"]) if words else "is not valid"


def sentences(errors: Iterable[ErrorDetails]) -> list[tuple[str, str]]:
    """The paths and texts of errors, without errors that only follow from another one in the same value."""
    found = list(errors)
    locs = [error["loc"] for error in found]
    return [
        (".".join(map(str, _loc_of_value(error))), sentence(error))
        for error in found
        if not (error["type"] == "too_short" and _has_inner(error["loc"], locs))
    ]


def _loc_of_value(error: ErrorDetails) -> tuple[int | str, ...]:
    """The path of an error. The error of a key has the path of the key's value."""
    loc = error["loc"]
    return loc[:-1] if loc[-1:] == ("[key]",) and loc[-2:-1] == (error["input"],) else loc


def _has_inner(loc: tuple[int | str, ...], locs: list[tuple[int | str, ...]]) -> bool:
    """Whether another error is inside of the value: pydantic does not count invalid items of a list."""
    return any(len(each) > len(loc) and each[: len(loc)] == loc for each in locs)


def _kind(expected: str) -> Words:
    return lambda _, value: f"must be {expected}, not {kind_of(value)}"


def _with_value(expected: str) -> Words:
    """Make a text that shows the value, of whatever type: only for values that are never content."""
    return lambda _, value: f"must be {expected}{instead(value)}"


def _with_bound(words: str, member: str) -> Words:
    return lambda ctx, value: f"must be {words} {ctx[member]}, but is {describe(value)}"


def _length(words: str, limit: int, actual: int | None, of: str) -> str:
    noun = of if limit != 1 else of.removesuffix("s")
    but = f", but has {actual}" if actual is not None else ""
    return f"must have {words} {limit} {noun}{but}"


def _items(words: str, member: str) -> Words:
    def sentence(ctx: Mapping[str, Any], value: Any) -> str:
        of = "members" if isinstance(value, dict) else "items"
        actual = len(value) if isinstance(value, dict | list | tuple) else None
        return _length(words, ctx[member], actual, of)

    return sentence


def _characters(words: str, member: str) -> Words:
    def sentence(ctx: Mapping[str, Any], value: Any) -> str:
        actual = len(value) if isinstance(value, str) else None
        return _length(words, ctx[member], actual, "characters")

    return sentence


def _pattern(ctx: Mapping[str, Any], value: Any) -> str:
    required = next((text for part, text in PATTERNS.items() if part in ctx["pattern"]), None)
    return f"{required or 'must match ' + ctx['pattern']}{but_is(value)}"


def _one_of(ctx: Mapping[str, Any], value: Any) -> str:
    expected = ctx["expected"].replace("'", "`")
    several = " or " in expected
    return f"must be {'one of ' if several else ''}{expected}{but_is(value)}"


TEXTS: Mapping[str, Words] = {
    "json_invalid": lambda ctx, _: f"is not well-formed JSON: {ctx['error']}",
    "missing": lambda *_: "is required",
    "extra_forbidden": lambda *_: "is not known here; /openapi.json lists what is",
    "model_type": _kind("an object"),
    "model_attributes_type": _kind("an object"),
    "dict_type": _kind("an object"),
    "list_type": _kind("a list"),
    "tuple_type": _kind("a list"),
    "string_type": _kind("text"),
    "string_unicode": lambda *_: r"must have no half of a surrogate pair (\ud800 to \udfff)",
    "string_sub_type": _kind("text"),
    "bool_type": _with_value("true or false"),
    "bool_parsing": _with_value("true or false"),
    "int_type": _with_value("a whole number"),
    "int_parsing": _with_value("a whole number"),
    "int_parsing_size": lambda *_: "must be a whole number that fits into 64 bits",
    "int_from_float": _with_value("a whole number"),
    "float_type": _with_value("a number"),
    "float_parsing": _with_value("a number"),
    "finite_number": lambda *_: "must be a finite number",
    "number": lambda ctx, value: f"{ctx['message']}{instead(value)}",
    "greater_than": _with_bound("greater than", "gt"),
    "greater_than_equal": _with_bound("at least", "ge"),
    "less_than": _with_bound("less than", "lt"),
    "less_than_equal": _with_bound("at most", "le"),
    "too_long": _items("at most", "max_length"),
    "too_short": _items("at least", "min_length"),
    "string_too_long": _characters("at most", "max_length"),
    "string_too_short": _characters("at least", "min_length"),
    "string_pattern_mismatch": _pattern,
    "enum": _one_of,
    "literal_error": _one_of,
    "union_tag_invalid": lambda ctx, _: f"must be one of {ctx['expected_tags']}",
    "none_required": lambda _, value: f"must be null, not {kind_of(value)}",
    "value_error": lambda ctx, _: str(ctx["error"]),
    "invalid_key": lambda *_: "must have text as its keys",
    "recursion_loop": lambda *_: "must not contain itself",
}
"""The text of each type of error that the models can raise. Other types are `is not valid`."""
