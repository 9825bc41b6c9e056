"""What one says of executions: assignees, steps, policies, webhooks, results. And how it stands in JSON."""

from __future__ import annotations

import re
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


@dataclass(frozen=True)
class Assignee:
    """Who or what executes. Of an execution it needs id and name; of a step it needs neither."""

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
    """A step as it is declared. `parent` is the id of the step it is part of, `kind` is `task`, `agent`,
    `tool`, `model` or `human`.
    """

    id: str
    name: str
    assignee: Assignee | Mapping[str, Any] | None = None
    parent: str | None = None
    kind: str | None = None
    input: Any = None


@dataclass(frozen=True)
class Retry:
    """When and how often a recoverable failure is tried again. Delays in milliseconds, or as `timedelta`."""

    max_retries: int
    backoff: str = "exponential"
    initial_delay: int | timedelta = 1_000
    max_delay: int | timedelta = 60_000
    jitter: str | None = None


@dataclass(frozen=True)
class Webhook:
    """Where events are to be sent."""

    url: str
    events: Sequence[str]
    headers: Mapping[str, str] | None = None
    format: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class Result:
    """What came out."""

    success: bool = True
    output: Any = None
    summary: str = ""
    artifacts: Sequence[str] | None = None


@dataclass(frozen=True)
class Usage:
    """What was used up, to be added. `cost` may be a number, or a decimal as text, which is kept exactly."""

    tokens_used: int = 0
    cost: float | Decimal | str = 0
    api_calls: int = 0
    model: str | None = None
    step: str | None = None


def body(**members: Any) -> JSON:
    """Members as they stand in JSON: in camelCase, without those that are None."""
    return {camel(name): wire(value) for name, value in members.items() if value is not None}


def wire(value: Any) -> Any:
    """A value as it stands in JSON. Times are RFC 3339, durations milliseconds.

    What is above has the names of the service; all else keeps its own, and every None that it has.
    """
    if value is None or type(value) in SCALARS:
        return value
    for kinds, written in WRITTEN.items():
        if isinstance(value, kinds):
            return written(value)
    if is_dataclass(value) and not isinstance(value, type):
        return wire(_members(value))
    return value


def _members(value: Any) -> JSON:
    return {field.name: getattr(value, field.name) for field in fields(value)}


WRITTEN: dict[type | tuple[type, ...], Callable[[Any], Any]] = {
    Mapping: lambda members: {str(name): wire(member) for name, member in members.items()},
    (list, tuple, set, frozenset): lambda parts: [wire(part) for part in parts],
    Assignee: lambda who: body(type=who.type, **_members(who)),
    (Step, Retry, Webhook): lambda said: body(**_members(said)),
    Result: lambda result: body(**_members(result)) | {"output": wire(result.output)},
    Usage: lambda usage: body(**_members(usage) | {"cost": number(usage.cost)}),
    datetime: lambda time: time_text(time),  # noqa: PLW0108 - it is defined below
    timedelta: lambda time: round(time / timedelta(milliseconds=1)),
    Decimal: lambda decimal: number(decimal),  # noqa: PLW0108 - the same
    Enum: lambda member: wire(member.value),
    Model: lambda shown: shown.model_dump(mode="json", by_alias=True, exclude_none=True),
    BaseModel: lambda model: model.model_dump(mode="json", by_alias=True),
}
"""How values are written that JSON has no word for. What the service showed leaves out what it did not have."""


def number(value: float | Decimal | str) -> float | int:
    """A decimal number as JSON has it, exactly.

    Raises:
        ValueError: it has more digits than a double holds.
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
    """A time as RFC 3339, in UTC with milliseconds; one without a zone is local time."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def camel(name: str) -> str:
    """`initial_delay` as `initialDelay`."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name.rstrip("_"))
