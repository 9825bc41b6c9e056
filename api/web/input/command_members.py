"""Removes or translates members of a command's body that the command itself does not have."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, get_args

from domain.errors import Invalid
from domain.model import Value

LINKED_DATA = ("$type", "$context")
TYPES = {
    "create": "ServiceExecution",
    "fork": "ServiceExecution",
    "createService": "Service",
    "createWorkflow": "BusinessWorkflow",
    "createOrder": "ServiceOrder",
    "createUser": "User",
    "createWebhook": "Webhook",
    "placeHold": "LegalHold",
}
"""The `$type` of the resource that each creating command creates."""
MAY_HIDE_NULL = frozenset({type(None), dict, list})
"""Types of values that are null or may contain null."""
STEP_COMMANDS = frozenset({"startStep", "completeStep", "failStep", "skipStep"})


def prepare(command: type[Value], given: dict[str, Any], step: str | None = None) -> bool:
    """Change `given` in place to the members that the command has. Return whether anything was changed.

    `step` is the step in the path.

    Raises:
        Invalid: `$type` is of another resource, or the step in the body is not the step in the path.
    """
    changed = without_nulls(command, given)
    name = getattr(command, "wire_name", "")
    if name in TYPES:
        changed |= _check_type(given, TYPES[name])
    if name in STEP_COMMANDS:
        changed |= _name_step(given, step)
    return changed


def without_nulls(model: type[Value], given: dict[str, Any]) -> bool:
    """Remove members of `given` that are null and have a default. Return whether there were any.

    A null stays where the member is required, and where the model defines what a null clears.
    """
    candidates = [name for name, value in given.items() if type(value) in MAY_HIDE_NULL]
    if not candidates:
        return False
    members, changed = _members(model), False
    for name in candidates:
        if (member := members.get(name)) is None:
            continue
        value = given[name]
        if value is None and member.has_default:
            del given[name]
            changed = True
        elif member.inner is not None:
            for part in value if isinstance(value, list) else (value,):
                if isinstance(part, dict):
                    changed |= without_nulls(member.inner, part)
    return changed


class _Member(NamedTuple):
    has_default: bool
    inner: type[Value] | None


@cache
def _members(model: type[Value]) -> dict[str, _Member]:
    """The members, by JSON name, of which a null is removed, or which may contain such a null."""
    null_kept = getattr(model, "null_clears", frozenset[str]())
    found = {
        field.alias or name: _Member(
            not field.is_required() and name not in null_kept, _inner_model(field.annotation)
        )
        for name, field in model.model_fields.items()
    }
    return {name: member for name, member in found.items() if member.has_default or member.inner}


def _inner_model(annotation: Any) -> type[Value] | None:
    """The model in an annotation such as `list[Step] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Value):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner_model(part))), None)


def _check_type(given: dict[str, Any], expected: str) -> bool:
    named = given.get("$type")
    if named is not None and named != expected:
        shown = f"`{named[:100]}`" if isinstance(named, str) else "something that is not text"
        raise Invalid.field("$type", f"must be `{expected}` here, but is {shown}")
    return sum(given.pop(name, given) is not given for name in LINKED_DATA) > 0


def _name_step(given: dict[str, Any], step: str | None) -> bool:
    """Set `step` to the step in the path or body, whose members `id` and `step` both name the step."""
    named = {name: given[name] for name in ("step", "id") if given.get(name) is not None}
    expected = step if step is not None else next(iter(named.values()), None)
    for name, value in named.items():
        if value != expected:
            where = "the step in the path" if step is not None else "`step`"
            raise Invalid.field(name, f"must be equal to {where}, or left out")
    given.pop("id", None)
    if expected is None or given.get("step") == expected:
        return bool(named.get("id"))
    given["step"] = expected
    return True
