"""The declaration of a recorded step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service_executions.values import Assignee


@dataclass(frozen=True)
class StepDeclaration:
    """The members of a recorded step that are known before it begins."""

    id: str
    name: str | None
    assignee: Assignee | Mapping[str, Any] | None
    kind: str | None
    parent: str | None
