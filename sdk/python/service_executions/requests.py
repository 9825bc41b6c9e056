"""Requests, and the commands among them: where each goes, and whether a repeat does harm."""

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
    """What every command takes besides its own members."""

    idempotency_key: str
    """A repeat with the same key, within 24 hours, gets the same answer."""
    if_match: int
    """Only at this version, else `VersionMismatch`."""
    occurred_at: datetime
    """When it happened, where that is not now."""
    correlation_id: str
    """Kept with the events."""


class Repeat(Enum):
    """What a repeat of a command would do, where its first answer was lost."""

    HARMLESS = auto()
    """Nothing: an equal command that was done is answered and recorded no more."""
    GUARDED = auto()
    """It could undo what another has done since: first look, then send at the version that was seen."""
    KEYED = auto()
    """It would count twice: it has an idempotency key from the start."""


class Command(NamedTuple):
    """A command to an execution: its word in `/commands`, its path, and what a repeat would do."""

    name: str
    path: str
    repeat: Repeat = Repeat.HARMLESS
    of: str | None = None
    """The member of `/commands` that says what stands in the path here."""


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
    """A command to a step: `start`, `complete`, `fail` or `skip`."""
    repeat = Repeat.KEYED if keyed else Repeat.HARMLESS
    return Command(f"{verb}Step", f"steps/{segment(step)}/{verb}", repeat, "step")


@dataclass(frozen=True)
class Request:
    """One request, to be sent once or several times."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    follows: bool = False
    """Whether it reads what follows the log with a delay, and so waits for the session's position."""
    timeout: float | None = None
    """Seconds, where it takes longer than others."""

    def with_method(self, method: str) -> Request:
        """The same by another method."""
        return replace(self, method=method)

    def following(self, query: Mapping[str, Any] | None = None) -> Request:
        """The same, with a query, to be answered once the session's position is reached."""
        return replace(self, query=parameters(query or {}), follows=True)

    def lasting(self, timeout: float) -> Request:
        """The same, with so many seconds for the answer."""
        return replace(self, timeout=timeout)


def post(path: str, members: Any, headers: Mapping[str, str] | None = None) -> Request:
    """A `POST` with a body of JSON."""
    return Request("POST", path, content=encode(members), headers={**JSON_TYPE, **(headers or {})})


def read(path: str, query: Mapping[str, Any] | None = None, *, follows: bool = False) -> Request:
    """A `GET`."""
    return Request("GET", path, parameters(query or {}), follows=follows)


def parameters(given: Mapping[str, Any]) -> dict[str, str]:
    """A query. What is None is left out; a list has commas between its parts, and the operators of a condition
    stand in brackets: `{"at": {"$gte": 1}}` as `at[$gte]=1`.
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
    """A value as it stands in a query.

    Raises:
        TypeError: it stands in none, such as the conditions of an `$or`.
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
    """JSON. Raises TypeError where something in it cannot stand in JSON."""
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
    """The headers that say a command's options."""
    headers: dict[str, str] = {}
    if "idempotency_key" in options:
        headers["Idempotency-Key"] = options["idempotency_key"]
    if "if_match" in options:
        headers["If-Match"] = f'"{options["if_match"]}"'
    if "correlation_id" in options:
        headers["X-Correlation-Id"] = options["correlation_id"]
    return headers


def with_time(members: dict[str, Any], options: CommandOptions) -> dict[str, Any]:
    """A command's members, with when it happened."""
    if "occurred_at" in options:
        return {**members, "occurredAt": time_text(options["occurred_at"])}
    return members


def segment(text: str) -> str:
    """A name as one segment of a path.

    Raises:
        ExecutionsError: clients change the names `.` and `..` in a path, so they cannot be asked for.
    """
    if text in {"", ".", ".."}:
        raise ExecutionsError(f"`{text}` cannot stand in a path: send it with `client.send`")
    return quote(text, safe="~:")


def refusal(response: httpx2.Response, attempts: int) -> ApiError:
    """The error that an answer says, whatever sent it."""
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
    """The error for an answer. A code that is not known here is an `ApiError` itself."""
    code = str(problem.get("type", "")).rpartition("/")[2]
    return BY_CODE.get(code, ApiError)(status, problem)
