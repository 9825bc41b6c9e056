"""The tables of legal moves: for each command and status, the status after the command.

- `.`: the command is refused.
- `=`: the command is a repeat. It changes nothing if its content is equal (`equal=` in `decide` of the command), and is
  refused if that differs.
- `ok`: the status stays the same.
- `failed/retry`: the status depends on the retries left (`end_by_error` in `commands/lifecycle.py`). The command `retry`
  needs no retries left: it is always possible in `failed`.
- `running?`: the command is possible where the execution is resumable: it was released, and has a checkpoint.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from domain.execution.types import Status, StepStatus

EXECUTION_MOVES = """
                queued     starting      running       paused     completed  failed     cancelled  retry
start           running    running       =             .          .          .          .          running
pause           .          .             paused        =          .          .          .          .
resume          running?   .             =             running    .          .          .          .
complete        .          .             completed     .          =          .          .          .
fail            .          failed/retry  failed/retry  failed     .          =          .          failed
cancel          cancelled  cancelled     cancelled     cancelled  .          cancelled  =          cancelled
retry           .          .             .             .          .          retry      .          running
updateProgress  .          ok            ok            .          .          .          .          .
startStep       .          ok            ok            .          .          .          .          .
completeStep    .          ok            ok            ok         .          .          .          .
failStep        .          ok            ok            ok         .          .          .          .
skipStep        .          ok            ok            ok         .          .          .          .
heartbeat       .          ok            ok            ok         .          .          .          .
checkpoint      .          .             ok            ok         .          .          .          .
declareSteps    ok         ok            ok            ok         .          .          .          ok
log             ok         ok            ok            ok         ok         ok         ok         ok
recordUsage     ok         ok            ok            ok         ok         ok         ok         ok
update          ok         ok            ok            ok         ok         ok         ok         ok
"""

SERVER_MOVES = """
                queued     starting      running       paused     completed  failed     cancelled  retry
timeOut         .          failed/retry  failed/retry  .          .          .          .          .
startRetry      .          .             .             .          .          .          .          running
autoCheckpoint  .          .             ok            .          .          .          .          .
stall           .          .             ok            .          .          .          .          .
release         .          queued/retry  queued/retry  .          .          .          .          .
configure       ok         ok            ok            ok         .          ok         .          ok
"""
"""The moves of commands of the server, which `allowedCommands` never has. `release` leads to `queued`, or, after too many lost
leases, to the same as `fail`. `configure` stands for an `update` of more than tags and metadata.
"""

STEP_MOVES = """
                pending    running       completed     failed     skipped
startStep       running    =             .             running    running
completeStep    .          completed     =             .          .
failStep        .          failed        .             =          .
skipStep        skipped    skipped       .             skipped    =
"""

S = TypeVar("S", bound=StrEnum)


def _read(table: str, statuses: type[S]) -> dict[str, dict[S, str]]:
    heading, *rows = (line.split() for line in table.strip().splitlines())
    columns = [statuses(status) for status in heading]
    return {command: dict(zip(columns, cells, strict=True)) for command, *cells in rows}


CLIENT_MOVES = _read(EXECUTION_MOVES, Status)
TRANSITIONS = CLIENT_MOVES | _read(SERVER_MOVES, Status)
STEP_TRANSITIONS = _read(STEP_MOVES, StepStatus)


def move(command: str, status: Status, *, resumable: bool) -> str:
    """The cell of a command in a status; a cell with `?` without the mark, or `.` if the execution is not resumable."""
    cell = TRANSITIONS[command][status]
    if cell.endswith("?"):
        return cell[:-1] if resumable else "."
    return cell


def allowed_commands(status: Status, *, resumable: bool) -> list[str]:
    """The commands that change something in a status, in the order of the table."""
    return [
        command
        for command in CLIENT_MOVES
        if move(command, status, resumable=resumable) not in {".", "="}
    ]


def allows(status: StepStatus, command: str) -> bool:
    """Whether a command may change a step of this status; true for a command that is for no step."""
    return STEP_TRANSITIONS.get(command, {}).get(status) not in {".", "="}
