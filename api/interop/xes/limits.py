"""Checks a log for everything that the service would refuse, before anything is sent.

All limits are those of the domain: each command is validated by its class in the domain.
"""

import math
import re
from datetime import datetime

import orjson
from pydantic import TypeAdapter, ValidationError

from api.interop.xes.plan import Plan
from api.interop.xes.reader import RESOURCE, XesError, XesEvent, XesTrace, quote
from domain.execution.commands import COMMANDS
from domain.execution.types import MOST_STEPS
from domain.types import NO_CONTROLS, Label, Name
from domain.writer.batch import SMALL_COMMAND, STREAM_SIZE_LIMIT
from domain.writer.message import LARGEST_COMMAND

STORED_OVERHEAD = 256
"""Bytes that storing adds to a command, at most, besides the third that encryption adds."""

_ONE_LINE = re.compile(NO_CONTROLS)


LONGEST_ACTIVITY: int = TypeAdapter(Label).json_schema()["maxLength"] - len(f"#{MOST_STEPS}")
"""Characters of an activity: the id of a step, a label, has the activity and the number of a round."""
LONGEST_RESOURCE: int = TypeAdapter(Name).json_schema()["maxLength"]


def check_events(trace: XesTrace, now: datetime) -> None:
    """Raise `XesError` for the first event of a trace that cannot become a step."""
    for event in trace.events:
        if reason := _wrong_event(event, now):
            raise XesError(event.line, reason)


def _wrong_event(event: XesEvent, now: datetime) -> str | None:
    if event.at > now:
        return f"the event lies in the future: {event.at.isoformat()}"
    if len(event.activity) > LONGEST_ACTIVITY:
        return f"an activity's name is longer than {LONGEST_ACTIVITY} characters"
    if not _ONE_LINE.fullmatch(event.activity):
        return "an activity's name has a control character"
    resource = str(event.attributes.get(RESOURCE, ""))
    if len(resource) > LONGEST_RESOURCE:
        return f"a resource's name is longer than {LONGEST_RESOURCE} characters"
    return None


def check_plan(plan: Plan, trace: str) -> None:
    """Raise `XesError` for the first command that is more than the execution of this trace takes."""
    steps, stored = set[str](), 0
    whole = f'with this event the trace "{quote(trace)}"'
    for line, command in zip(plan.lines, plan.commands, strict=True):
        if len(command) > LARGEST_COMMAND:
            raise XesError(
                line, f"the attributes of a trace or event exceed {LARGEST_COMMAND} bytes"
            )
        steps.update(_check_command(line, command))
        if len(steps) > MOST_STEPS:
            raise XesError(line, f"{whole} has more than {MOST_STEPS} steps")
        size = _estimate_stored_size(command)
        stored += size
        if stored > STREAM_SIZE_LIMIT and size > SMALL_COMMAND:
            raise XesError(
                line,
                f"{whole} holds more than {STREAM_SIZE_LIMIT} bytes as they are stored, encrypted",
            )


def _estimate_stored_size(command: bytes) -> int:
    """An upper bound of the bytes that the events of a command take."""
    return math.ceil(len(command) * 4 / 3) + STORED_OVERHEAD


def _check_command(line: int, command: bytes) -> tuple[str, ...]:
    """Validate a command, and return the steps that it names."""
    body = orjson.loads(command)
    kind = COMMANDS[body.pop("command")]
    del body["execution"]
    body.pop("ifMatch", None)
    try:
        kind.model_validate_json(orjson.dumps(body))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in wrong["loc"])
        raise XesError(line, f"the service would refuse `{path}`: {wrong['msg']}") from None
    if "steps" in body:
        return tuple(step["id"] for step in body["steps"])
    return (body["step"],) if "step" in body else ()
