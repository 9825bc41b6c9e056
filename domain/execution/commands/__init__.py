"""All commands to an execution, by wire name."""

from __future__ import annotations

from domain.execution.commands.claims import (
    ClaimExecution,
    HeartbeatExecution,
    ReleaseExecution,
    StallExecution,
)
from domain.execution.commands.create import CreateExecution
from domain.execution.commands.lifecycle import (
    CancelExecution,
    CompleteExecution,
    FailExecution,
    PauseExecution,
    ResumeExecution,
    RetryExecution,
    StartExecution,
    StartRetry,
    TimeOutExecution,
)
from domain.execution.commands.progress import (
    AutoCheckpoint,
    RecordUsage,
    SaveCheckpoint,
    UpdateProgress,
)
from domain.execution.commands.steps import (
    CompleteStep,
    DeclareSteps,
    FailStep,
    SkipStep,
    StartStep,
)
from domain.execution.commands.update import UpdateExecution
from domain.execution.state import Execution
from domain.model import Command

__all__ = [
    "COMMANDS",
    "SERVER_COMMANDS",
    "AutoCheckpoint",
    "CancelExecution",
    "ClaimExecution",
    "CompleteExecution",
    "CompleteStep",
    "CreateExecution",
    "DeclareSteps",
    "FailExecution",
    "FailStep",
    "HeartbeatExecution",
    "PauseExecution",
    "RecordUsage",
    "ReleaseExecution",
    "ResumeExecution",
    "RetryExecution",
    "SaveCheckpoint",
    "SkipStep",
    "StallExecution",
    "StartExecution",
    "StartRetry",
    "StartStep",
    "TimeOutExecution",
    "UpdateExecution",
    "UpdateProgress",
]

_CLIENT: tuple[type[Command[Execution]], ...] = (
    CreateExecution,
    StartExecution,
    PauseExecution,
    ResumeExecution,
    CompleteExecution,
    FailExecution,
    RetryExecution,
    CancelExecution,
    UpdateProgress,
    UpdateExecution,
    RecordUsage,
    HeartbeatExecution,
    SaveCheckpoint,
    DeclareSteps,
    StartStep,
    CompleteStep,
    FailStep,
    SkipStep,
)
COMMANDS: dict[str, type[Command[Execution]]] = {command.wire_name: command for command in _CLIENT}
SERVER_COMMANDS: dict[str, type[Command[Execution]]] = {
    command.wire_name: command
    for command in (TimeOutExecution, StartRetry, AutoCheckpoint, ReleaseExecution, StallExecution)
}
"""The commands that only the server sends; they are never accepted from a client."""
