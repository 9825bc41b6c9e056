"""Requests and commands: their paths and bodies, and what a repeat of a command would do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto
from typing import Any, NamedTuple, TypedDict, cast
from urllib.parse import quote

import httpx2
from pydantic_core import from_json, to_json

from service_executions.errors import ApiError, ExecutionsError
from service_executions.values import time_text, wire

JSON_TYPE = {"Content-Type": "application/json"}


class CommandOptions(TypedDict, total=False):
    """The options of every command, besides its own members."""

    idempotency_key: str
    """A repeat with the same key within 24 hours gets the same answer."""
    if_match: int
    """The version that the execution must have; else `VersionMismatch` is raised."""
    occurred_at: datetime
    """The time at which it happened, if that is not now."""
    correlation_id: str
    """An id that is stored with the events."""


class Repeat(Enum):
    """What a repeat of a command would do if the first one was recorded but its answer lost."""

    HARMLESS = auto()
    """Nothing: the service answers an equal command again, and does not record it."""
    GUARDED = auto()
    """It could undo a later command of somebody else. So the execution is read first, and the command is sent again for
    the version that was read."""
    KEYED = auto()
    """It would be recorded twice. So the command has an idempotency key from the start."""


class Command(NamedTuple):
    """A command to an execution: its name in `/commands`, its path, and what a repeat would do."""

    name: str
    path: str
    repeat: Repeat = Repeat.HARMLESS
    of: str | None = None
    """The member of `/commands` that has the id which is in the path here."""


START = Command("start", "start")
PAUSE = Command("pause", "pause", Repeat.GUARDED)
RESUME = Command("resume", "resume", Repeat.GUARDED)
COMPLETE = Command("complete", "complete")
FAIL = Command("fail", "fail")
FAIL_RECOVERABLY = Command("fail", "fail", Repeat.KEYED)
RETRY = Command("retry", "retry", Repeat.KEYED)
CANCEL = Command("cancel", "cancel")
PROGRESS = Command("updateProgress", "progress", Repeat.GUARDED)
USAGE = Command("recordUsage", "metrics", Repeat.KEYED)
CHECKPOINT = Command("checkpoint", "checkpoints", Repeat.KEYED)
HEARTBEAT = Command("heartbeat", "heartbeat")
DECLARE_STEPS = Command("declareSteps", "steps")
LOG = Command("log", "logs", Repeat.KEYED)


def of_step(verb: str, step: str, *, keyed: bool = False) -> Command:
    """Return a command to a step: `start`, `complete`, `fail` or `skip`."""
    repeat = Repeat.KEYED if keyed else Repeat.HARMLESS
    return Command(f"{verb}Step", f"steps/{segment(step)}/{verb}", repeat, "step")


@dataclass(frozen=True)
class Request:
    """A request, which may be sent several times."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    follows: bool = False
    """Whether it reads data that follows the log with a delay, so that it should wait for the session's position."""
    timeout: float | None = None
    """Seconds to wait for the answer; None for the default."""

    def with_method(self, method: str) -> Request:
        """Return the request with another method."""
        return replace(self, method=method)

    def following(self, query: Mapping[str, Any] | None = None) -> Request:
        """Return the request with a query, marked to wait for the session's position."""
        return replace(self, query=parameters(query or {}), follows=True)

    def lasting(self, timeout: float) -> Request:
        """Return the request with another timeout, in seconds."""
        return replace(self, timeout=timeout)


def post(path: str, members: Any, headers: Mapping[str, str] | None = None) -> Request:
    """Return a `POST` request with a JSON body."""
    return Request("POST", path, content=encode(members), headers={**JSON_TYPE, **(headers or {})})


def read(path: str, query: Mapping[str, Any] | None = None, *, follows: bool = False) -> Request:
    """Return a `GET` request."""
    return Request("GET", path, parameters(query or {}), follows=follows)


def parameters(given: Mapping[str, Any]) -> dict[str, str]:
    """Return query parameters. None is left out, the parts of a list are separated by commas, and the operators of a
    condition are in brackets: `{"at": {"$gte": 1}}` becomes `at[$gte]=1`.
    """
    found: dict[str, str] = {}
    for name, value in given.items():
        if isinstance(value, Mapping):
            condition = cast("Mapping[str, Any]", value)
            found |= {
                f"{name}[{operator}]": parameter(part) for operator, part in condition.items()
            }
        elif value is not None:
            found[name] = parameter(value)
    return found


def parameter(value: Any) -> str:
    """Return a value as the text of a query parameter.

    Raises:
        TypeError: the value cannot be written in a query, such as the conditions of an `$or`.
    """
    shown = wire(value)
    if isinstance(shown, bool):
        return str(shown).lower()
    if isinstance(shown, list):
        return ",".join(parameter(part) for part in cast("list[object]", shown))
    if shown is None or isinstance(shown, dict):
        raise TypeError(f"{shown} cannot stand in a query")
    return str(shown)


def encode(members: Any) -> bytes:
    """Return members as JSON. Raises TypeError if a value cannot be written in JSON."""
    try:
        text = to_json(members, inf_nan_mode="constants")
        if b"NaN" in text or b"Infinity" in text:
            json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise TypeError(str(error)) from None
    return text


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} cannot stand in JSON")


def option_headers(options: CommandOptions) -> dict[str, str]:
    """Return the headers of a command's options."""
    headers: dict[str, str] = {}
    if "idempotency_key" in options:
        headers["Idempotency-Key"] = options["idempotency_key"]
    if "if_match" in options:
        headers["If-Match"] = f'"{options["if_match"]}"'
    if "correlation_id" in options:
        headers["X-Correlation-Id"] = options["correlation_id"]
    return headers


def with_time(members: dict[str, Any], options: CommandOptions) -> dict[str, Any]:
    """Return the members of a command with its `occurredAt`, if given."""
    if "occurred_at" in options:
        return {**members, "occurredAt": time_text(options["occurred_at"])}
    return members


def segment(text: str) -> str:
    """Return a name as a segment of a path.

    Raises:
        ExecutionsError: the name is empty, `.` or `..`, which HTTP clients would remove from the path.
    """
    if text in {"", ".", ".."}:
        raise ExecutionsError(f"`{text}` cannot stand in a path: send it with `client.send`")
    return quote(text, safe="~:")


def refusal(response: httpx2.Response, attempts: int) -> ApiError:
    """Return the error of an answer, which may also come from a proxy instead of the service."""
    problem: Any = None
    with suppress(ValueError):
        problem = from_json(response.content)
    if not isinstance(problem, dict):
        problem = {"title": f"{response.url} answers {response.status_code}"}
    error = api_error(response.status_code, cast("dict[str, Any]", problem))
    after = response.headers.get("retry-after", "")
    error.retry_after = float(after) if after.isdecimal() else None
    error.attempts = attempts
    return error


def _all(base: type[ApiError]) -> dict[str, type[ApiError]]:
    below = base.__subclasses__()
    return {code: kind for sub in below for code, kind in {sub.code: sub, **_all(sub)}.items()}


BY_CODE = _all(ApiError)


def api_error(status: int, problem: Mapping[str, Any]) -> ApiError:
    """Return the error of a problem document. An unknown code gives an `ApiError`."""
    code = str(problem.get("type", "")).rpartition("/")[2]
    return BY_CODE.get(code, ApiError)(status, problem)
