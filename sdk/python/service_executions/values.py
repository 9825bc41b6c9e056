"""What one says of executions: assignees, steps, policies, webhooks, results. And how it stands in JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, cast

from pydantic import BaseModel

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


FREE = frozenset({"input", "output", "state", "context", "metadata", "params"})
"""Members that are free JSON: their keys are not ours to rename, and a `None` in them is a value."""


def body(**members: Any) -> JSON:
    """Members as they stand in JSON: in camelCase, without those that are None, but free JSON as it is."""
    return {
        camel(name): wire(value) if name not in FREE else plain(value)
        for name, value in members.items()
        if value is not None
    }


def wire(value: Any) -> Any:
    """A value as it stands in JSON. Times are RFC 3339, durations milliseconds."""
    if value is None or type(value) in SCALARS:
        return value
    if isinstance(value, Assignee):
        return body(type=value.type, id=value.id, name=value.name, model=value.model)
    if is_dataclass(value) and not isinstance(value, type):
        shown = {field.name: getattr(value, field.name) for field in fields(value)}
        if "cost" in shown:
            shown["cost"] = number(shown["cost"])
        return body(**shown) | (
            {"output": plain(value.output)} if isinstance(value, Result) else {}
        )
    return plain(value)


def plain(value: Any) -> Any:
    """Free JSON, with the values in it that JSON has no word for as it would write them."""
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        return {str(key): wire(member) for key, member in members.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [wire(member) for member in cast("Iterable[object]", value)]
    for kind, written in WRITTEN.items():
        if isinstance(value, kind):
            return written(value)
    return value


WRITTEN: dict[type, Callable[[Any], Any]] = {
    datetime: lambda time: time_text(time),  # noqa: PLW0108 - it is defined below
    timedelta: lambda time: round(time / timedelta(milliseconds=1)),
    Decimal: lambda decimal: number(decimal),  # noqa: PLW0108 - the same
    Enum: lambda member: wire(member.value),
    BaseModel: lambda model: model.model_dump(mode="json", by_alias=True, exclude_none=True),
}
"""How values are written that JSON has no word for."""


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
