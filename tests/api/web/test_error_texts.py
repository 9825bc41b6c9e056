"""Error texts name the field, the value and the rule, in words of JSON and not of Python."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from api.problems.codes import PROBLEMS
from api.problems.problems import invalid
from api.web.input.json_text import DuplicateKey, parse, require_depth
from domain.errors import Invalid, instead, kind_of
from domain.execution.commands.log import LogLine
from domain.json_forms import parse_time
from domain.registry import COMMANDS

PROGRAMS = re.compile(
    r"tuple|dict|Input should|should be|str\b|None|valid string|int\b|float\b|timedelta|Value error"
)
STEP = {"id": "a", "name": "A"}
IDS = {"order": "o", "service": "s"}
TEXTS: tuple[tuple[str, Any, str, str], ...] = (
    ("create", {"order": "o"}, "service", "is required"),
    ("create", IDS | {"tags": ["t"] * 51}, "tags", "must have at most 50 items, but has 51"),
    ("create", IDS | {"tags": "eu"}, "tags", "must be a list, not text"),
    ("create", IDS | {"tags": [7]}, "tags.0", "must be text, not a number"),
    ("create", IDS | {"tags": [""]}, "tags.0", "must have at least 1 character, but has 0"),
    (
        "create",
        IDS | {"tags": ["x" * 256]},
        "tags.0",
        "must have at most 255 characters, but has 256",
    ),
    (
        "create",
        IDS | {"tags": ["a\nb"]},
        "tags.0",
        "must be one line, without control characters",
    ),
    (
        "heartbeat",
        {"worker": "mailer 7"},
        "worker",
        "must be 1 to 128 printable ASCII characters, without spaces, but is `mailer 7`",
    ),
    (
        "create",
        IDS | {"order": "a b"},
        "order",
        "must be 1 to 255 characters of A-Z a-z 0-9 . _ ~ : -, but is `a b`",
    ),
    (
        "create",
        IDS | {"priority": "asap"},
        "priority",
        "must be one of `low`, `normal`, `high` or `urgent`, but is `asap`",
    ),
    (
        "create",
        IDS | {"timeout": 86_400_001},
        "timeout",
        "must be a whole number of milliseconds from 0 to 86400000, but is 86400001",
    ),
    (
        "create",
        IDS | {"timeout": "1h"},
        "timeout",
        "must be a whole number of milliseconds from 0 to 86400000, but is the text `1h`",
    ),
    (
        "create",
        IDS | {"timeout": 1.5},
        "timeout",
        "must be a whole number of milliseconds from 0 to 86400000, but is 1.5",
    ),
    (
        "create",
        IDS | {"timeout": True},
        "timeout",
        "must be a whole number of milliseconds from 0 to 86400000, but is true",
    ),
    (
        "create",
        IDS | {"order": {"id": "x"}},
        "order",
        "must be an id, or an object with its `$id`, not an object without `$id`",
    ),
    (
        "create",
        IDS | {"order": 7},
        "order",
        "must be an id, or an object with its `$id`, not a number",
    ),
    (
        "create",
        IDS | {"metrics": {"stepsTotal": 1.5}},
        "metrics.stepsTotal",
        "must be a whole number, but is 1.5",
    ),
    (
        "create",
        IDS | {"metadata": {"n": 2**63}},
        "metadata",
        f"must have only whole numbers from {-(2**63)} to {2**63 - 1}, but has {2**63}",
    ),
    (
        "create",
        IDS | {"metadata": {"$a": 1}},
        "metadata",
        "must have only keys that are not empty and do not begin with `$`",
    ),
    (
        "create",
        IDS | {"webhooks": [{"url": "ftp://x", "events": ["failed"]}]},
        "webhooks.0.url",
        (
            "must be an http:// or https:// URL of at most 2048 characters, without spaces, "
            "but is `ftp://x`"
        ),
    ),
    (
        "create",
        IDS | {"webhooks": [{"url": "https://a.example", "events": ["done"]}]},
        "webhooks.0.events",
        (
            "must be names of events, such as `completed`, `status_changed` or `step.*`, "
            "but no event is called `done`"
        ),
    ),
    ("updateProgress", {"progress": 101}, "progress", "must be a number from 0 to 100, but is 101"),
    (
        "updateProgress",
        {"progress": "45"},
        "progress",
        "must be a number from 0 to 100, but is the text `45`",
    ),
    ("complete", {"success": 1, "summary": ""}, "success", "must be true or false, but is 1"),
    ("recordUsage", {"tokensUsed": -1}, "tokensUsed", "must be at least 0, but is -1"),
    ("recordUsage", {"cost": -1}, "cost", "must be a number from 0 to 1000000000, but is -1"),
    (
        "recordUsage",
        {"cost": "0.5"},
        "cost",
        "must be a number from 0 to 1000000000, but is the text `0.5`",
    ),
    (
        "fail",
        {"code": "X", "message": "", "occurredAt": 5},
        "occurredAt",
        "must be an RFC 3339 time with an offset, like 2026-11-22T08:00:00.000Z, but is 5",
    ),
    (
        "recordUsage",
        {"tokensUsed": "many"},
        "tokensUsed",
        "must be a whole number, but is the text `many`",
    ),
    (
        "complete",
        {"success": True, "summary": "", "artifacts": "secret"},
        "artifacts",
        "must be a list, not text",
    ),
    ("recordUsage", {"costs": 1}, "costs", "is not known here; /openapi.json lists what is"),
    ("checkpoint", {"state": []}, "state", "must be an object, not a list"),
    ("declareSteps", {"steps": []}, "steps", "must have at least 1 item, but has 0"),
    ("declareSteps", {"steps": [{"id": "a"}]}, "steps.0.name", "is required"),
    ("declareSteps", {"steps": [STEP, 7]}, "steps.1", "must be an object, not a number"),
    (
        "fail",
        {"code": "X", "message": "", "occurredAt": "2026-11-22"},
        "occurredAt",
        (
            "must be an RFC 3339 time with an offset, like 2026-11-22T08:00:00.000Z, "
            "but is `2026-11-22`"
        ),
    ),
)


@pytest.mark.parametrize(("command", "body", "path", "message"), TEXTS)
def test_refusal_names_the_field_the_value_and_the_rule(
    command: str, body: Any, path: str, message: str
) -> None:
    errors = errors_of(command, body)
    assert errors == [{"path": path, "message": message}]
    assert not PROGRAMS.search(message)


def errors_of(command: str, body: Any) -> list[dict[str, str]]:
    with pytest.raises(ValidationError) as refused:
        COMMANDS["execution"][command].model_validate_json(orjson.dumps(body))
    found: list[dict[str, str]] = invalid(refused.value).members["errors"]
    return found


def test_invalid_utf8_is_refused_without_words_of_python() -> None:
    with pytest.raises(ValueError, match=r"^it is not UTF-8 from byte 12 on$"):
        parse(b'{"reason": \xff"\xfe"}')
    with pytest.raises(ValueError, match="unexpected"):
        parse(b'{"reason": ')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            rb'{"a": "\ud800"}',
            r"half of a surrogate pair (\ud800 to \udfff) stands without the other: line 1 column 8",
        ),
        (
            rb'{"a": 12345678901234567890, "b": "\udc00"}',
            r"half of a surrogate pair (\ud800 to \udfff) stands without the other: line 1 column 40",
        ),
        (
            b'{"a": 1e999}',
            "a number is larger than a double-precision float can be: line 1 column 7",
        ),
        (b'{"a": }', "unexpected character, expected a JSON value: line 1 column 7"),
    ],
)
def test_malformed_json_is_refused_in_plain_words_with_line_and_column(
    text: bytes, said: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        parse(text)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x" * 101, ", but is text"),
        ("a\nb", ", but is text"),
        ("", ", but is empty"),
        (10**101, ", but is a number beyond that"),
    ],
)
def test_value_that_is_long_or_several_lines_is_not_shown(value: object, said: str) -> None:
    assert instead(value) == said


def test_refused_key_is_named_in_the_refusal() -> None:
    hooks = [{"url": "https://a.example", "events": ["*"], "headers": {"a b": "x"}}]
    [error] = errors_of("create", IDS | {"webhooks": hooks})
    assert error["path"] == "webhooks.0.headers.a b"


def test_lone_surrogate_is_refused_without_words_of_python() -> None:
    with pytest.raises(ValidationError) as refused:
        LogLine.model_validate({"level": "info", "message": "\ud800"})
    (error,) = invalid(refused.value).members["errors"]
    assert error["message"] == r"must have no half of a surrogate pair (\ud800 to \udfff)"


def test_problem_detail_is_the_first_error_and_the_number_of_others() -> None:
    with pytest.raises(ValidationError) as refused:
        COMMANDS["execution"]["fail"].model_validate_json(b'{"code": ""}')
    assert invalid(refused.value).detail == (
        "`code` must have at least 1 character, but has 0 (and 1 more)."
    )
    assert Invalid.field("", "must be an object").detail == "The body must be an object."


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "null"), (True, "true or false"), (1.5, "a number"), ([], "a list"), ({}, "an object")],
)
def test_types_of_values_are_named_as_in_json(value: Any, kind: str) -> None:
    assert kind_of(value) == kind


def test_every_problem_has_a_title_a_cause_and_a_cure() -> None:
    for code, (status, title, cause, cure) in PROBLEMS.items():
        assert 400 <= status < 600, code
        assert not title.endswith("."), code
        assert cause.endswith("."), code
        assert cure.endswith("."), code


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "2026-11-22T08:00:00+00:60",
            "must have an offset from -23:59 to +23:59, but has `+00:60`",
        ),
        (
            "2026-11-22T08:00:00+14:99",
            "must have an offset from -23:59 to +23:59, but has `+14:99`",
        ),
        (
            "2026-11-22T08:00:00-24:00",
            "must have an offset from -23:59 to +23:59, but has `-24:00`",
        ),
        ("2026-02-30T08:00:00Z", "must be a time that exists, but is `2026-02-30T08:00:00Z`"),
        ("2026-11-22T24:00:00Z", "must be a time that exists, but is `2026-11-22T24:00:00Z`"),
        ("0001-01-01T00:00:00+01:00", "must lie between the years 1 and 9999 in UTC"),
    ],
)
def test_impossible_time_is_refused_in_plain_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_time(text)


def test_largest_time_offset_is_accepted() -> None:
    assert parse_time("2026-11-22T23:59:00+23:59").isoformat() == "2026-11-22T00:00:00+00:00"


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1, "a": 2}',
        rb'{"a": 1, "\u0061": 2}',
        b'{"b": [{"c": {"a": 1, "a": 1}}]}',
        b'[{"a:": "x:y", "a:": 1}]',
        rb'{"a\"": "x:\":y", "a\"": 1}',
        b'{"n": 12345678901234567890, "n": 1}',
    ],
)
def test_duplicate_json_key_is_found_at_any_depth(text: bytes) -> None:
    with pytest.raises(DuplicateKey, match="is given twice in one object"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [b'{"a": {"a": 1}}', b'[{"a": 1}, {"a": 1}]', rb'{"a": "a:\"a\":", "b": ":::"}', b'":"', b"1"],
)
def test_equal_json_keys_of_different_objects_are_accepted(text: bytes) -> None:
    assert parse(text).value == orjson.loads(text)


def test_depth_is_counted_in_objects_and_lists_within_each_other() -> None:
    assert parse(b"1").levels == 0
    assert parse(b'{"a": [{}, 1], "b": 2}').levels == 3
    require_depth(parse(b"[" * 128 + b"]" * 128).levels)
    with pytest.raises(Invalid, match=r"at most 128 levels .* but has 129"):
        require_depth(parse(b"[" * 129 + b"]" * 129).levels)
