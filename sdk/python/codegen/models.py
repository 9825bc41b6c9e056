"""Generates the models of the service's documents from its OpenAPI document.

The models accept documents of a newer service: unknown members are kept, and unknown values of an enumeration are accepted.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

ROOTS = ("ServiceExecution",)
BASE = "from service_executions.model import Model"
HEADER = f'''"""Documents as the service shows them. Made by scripts/sdk of /openapi.json: do not edit."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import Field

{BASE}
'''
Schema = Mapping[str, Any]
Schemas = Mapping[str, Schema]


def models(document: Mapping[str, Any]) -> str:
    """Return the unformatted text of the module for an OpenAPI document."""
    schemas: Schemas = document["components"]["schemas"]
    names = sorted(reachable(schemas), key=lambda name: (not _is_enum(schemas[name]), name))
    parts = [_alias(name, schemas[name]) for name in names if _is_enum(schemas[name])]
    parts += [_model(name, schemas[name]) for name in names if not _is_enum(schemas[name])]
    return "\n\n".join([HEADER, *parts])


def reachable(schemas: Schemas) -> set[str]:
    """Return the names of all schemas to which `ROOTS` refer, directly or indirectly."""
    found: set[str] = set()
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _references(schemas[name])
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "$ref" in value:
            yield value["$ref"].rpartition("/")[2]
        for member in value.values():
            yield from _references(member)
    elif isinstance(value, list):
        for member in value:
            yield from _references(member)


def _is_enum(schema: Schema) -> bool:
    return "enum" in schema


def _public_name(name: str) -> str:
    """Return the public name of a schema: `ShownStep` becomes `ExecutionStep`."""
    return re.sub("^Shown", "Execution", name)


def _alias(name: str, schema: Schema) -> str:
    return f"{_public_name(name)}: TypeAlias = {_literal(schema['enum'])}"


def _literal(values: list[Any]) -> str:
    return f"Literal[{', '.join(map(repr, values))}] | str"


def _model(name: str, schema: Schema) -> str:
    required = set(schema.get("required", ()))
    fields = [
        _field(member, shape, required=member in required)
        for member, shape in schema["properties"].items()
    ]
    description = str(schema["description"]).replace("\n", "\n    ")
    description = description if description.endswith(".") else f"{description}."
    end = "\n    " if "\n" in description else ""
    return f'class {_public_name(name)}(Model):\n    """{description}{end}"""\n\n' + "\n".join(
        fields
    )


def _field(member: str, shape: Schema, *, required: bool) -> str:
    name, type_ = _python_name(member), _type(shape)
    optional = not required and not type_.endswith("None") and type_ != "Any"
    type_ = f"{type_} | None" if optional else type_
    if name == member:
        return f"    {name}: {type_}" + ("" if required else " = None")
    default = "" if required else "default=None, "
    return f"    {name}: {type_} = Field({default}alias={member!r})"


def _python_name(member: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", member.removeprefix("$")).lower()
    return f"{snake}_" if keyword.iskeyword(snake) else snake


def _type(shape: Schema) -> str:
    if "$ref" in shape:
        return _public_name(shape["$ref"].rpartition("/")[2])
    if "anyOf" in shape:
        parts = dict.fromkeys(_type(part) for part in shape["anyOf"])
        return "Any" if "Any" in parts else " | ".join(parts)
    return _literal(shape["enum"]) if "enum" in shape else _simple(shape)


def _simple(shape: Schema) -> str:
    if shape.get("type") == "array":
        return f"list[{_type(shape['items'])}]"
    if shape.get("type") == "object":
        return _object(shape)
    if shape.get("format") == "date-time":
        return "datetime"
    return _SCALARS.get(shape.get("type", ""), "Any")


def _object(shape: Schema) -> str:
    values = shape.get("additionalProperties")
    return f"dict[str, {_type(values) if isinstance(values, Mapping) else 'Any'}]"


_SCALARS = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}
