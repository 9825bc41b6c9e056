"""What is said of a step before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service_executions.values import Assignee


@dataclass(frozen=True)
class StepDeclaration:
    """What is said of a step where it is made."""

    id: str
    name: str | None
    assignee: Assignee | Mapping[str, Any] | None
    kind: str | None
    parent: str | None
