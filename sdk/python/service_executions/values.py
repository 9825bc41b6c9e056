"""The values that clients send: assignees, steps, policies, webhooks, results and usage; and how they become JSON."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar

from pydantic import BaseModel

from service_executions.model import Model

JSON = dict[str, Any]
SCALARS = frozenset({str, bool, int, float})
"""Types that are the same in JSON."""


@dataclass(frozen=True)
class Assignee:
    """Who or what does the work. The assignee of an execution needs an id and a name, that of a step needs neither."""

    id: str | None = None
    name: str | None = None
    model: str | None = None
    type: ClassVar[str] = "system"


class Agent(Assignee):
    """An AI agent."""

    type = "ai-agent"


class Human(Assignee):
    """A person."""

    type = "human"


class Hybrid(Assignee):
    """Agents and people together."""

    type = "hybrid"


class System(Assignee):
    """A program."""

    type = "system"


@dataclass(frozen=True)
class Step:
    """A declared step. `parent` is the id of the step of which it is a part; `kind` is `task`, `agent`, `tool`, `model` or
    `human`.
    """

    id: str
    name: str
    assignee: Assignee | Mapping[str, Any] | None = None
    parent: str | None = None
    kind: str | None = None
    input: Any = None


@dataclass(frozen=True)
class Retry:
    """A retry policy: when and how often a recoverable failure is retried. Delays are `timedelta` or milliseconds."""

    max_retries: int
    backoff: str = "exponential"
    initial_delay: int | timedelta = 1_000
    max_delay: int | timedelta = 60_000
    jitter: str | None = None


@dataclass(frozen=True)
class Webhook:
    """A webhook: the URL to which events of these types are sent."""

    url: str
    events: Sequence[str]
    headers: Mapping[str, str] | None = None
    format: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class Result:
    """The result of an execution."""

    success: bool = True
    output: Any = None
    summary: str = ""
    artifacts: Sequence[str] | None = None


@dataclass(frozen=True)
class Usage:
    """Usage to add. `cost` is a number, or a decimal as text, which is recorded exactly."""

    tokens_used: int = 0
    cost: float | Decimal | str = 0
    api_calls: int = 0
    model: str | None = None
    step: str | None = None


def body(**members: Any) -> JSON:
    """Return members as they are in JSON: in camelCase, without those that are None."""
    return {camel(name): wire(value) for name, value in members.items() if value is not None}


def wire(value: Any) -> Any:
    """Return a value as it is in JSON. Times become RFC 3339 texts, durations milliseconds, bytes base64.

    The classes above are written with the names of the service, without members that are None. Other values keep their
    names and every None.
    """
    if value is None or type(value) in SCALARS:
        return value
    for kinds, write in WRITTEN.items():
        if isinstance(value, kinds):
            return write(value)
    if is_dataclass(value) and not isinstance(value, type):
        return wire(_members(value))
    return value


def _members(value: Any) -> JSON:
    return {field.name: getattr(value, field.name) for field in fields(value)}


WRITTEN: dict[type | tuple[type, ...], Callable[[Any], Any]] = {
    Mapping: lambda members: {str(wire(name)): wire(member) for name, member in members.items()},
    (list, tuple, set, frozenset): lambda parts: [wire(part) for part in parts],
    Assignee: lambda who: body(type=who.type, **_members(who)),
    (Step, Retry, Webhook): lambda value: body(**_members(value)),
    Result: lambda result: body(**_members(result)) | {"output": wire(result.output)},
    Usage: lambda usage: body(**_members(usage) | {"cost": number(usage.cost)}),
    datetime: lambda time: time_text(time),  # noqa: PLW0108 - it is defined below
    timedelta: lambda time: round(time / timedelta(milliseconds=1)),
    Decimal: lambda decimal: number(decimal),  # noqa: PLW0108 - the same
    (bytes, bytearray, memoryview): lambda content: b64encode(content).decode(),
    Enum: lambda member: wire(member.value),
    Model: lambda shown: shown.model_dump(mode="json", by_alias=True, exclude_none=True),
    BaseModel: lambda model: model.model_dump(mode="json", by_alias=True),
}
"""Functions that write values of types which JSON does not have. Documents of the service leave out members that are None."""


def number(value: float | Decimal | str) -> float | int:
    """Return a decimal as a number that JSON represents exactly.

    Raises:
        ValueError: the decimal has more digits than a double-precision number can represent.
    """
    if isinstance(value, int | float):
        return value
    exact = Decimal(value)
    if exact == exact.to_integral_value():
        return int(exact)
    nearest = float(exact)
    if Decimal(repr(nearest)) != exact:
        raise ValueError(f"{value} has more digits than can be kept exactly")
    return nearest


def time_text(time: datetime) -> str:
    """Return a time as an RFC 3339 text in UTC, with milliseconds. A time without a zone is local time."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def camel(name: str) -> str:
    """Return a name in camelCase: `initial_delay` becomes `initialDelay`."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name.rstrip("_"))
