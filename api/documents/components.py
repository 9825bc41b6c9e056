"""Makes the JSON schemas of the pydantic models, in the form that clients send and receive."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from api.client.ids import ID, TAKEN
from api.documents.schemas import (
    DRY_RUN,
    MINIMAL,
    PROBLEM,
    RECEIPT,
    RECEIPT_OF_ANSWER,
    selection_schema,
)
from api.web.input.command_members import STEP_COMMANDS, TYPES
from api.web.operation import Operation
from domain.json_forms import in_milliseconds
from domain.model import Creation

REF = "#/components/schemas/{model}"
LINKED_DATA: dict[str, dict[str, Any]] = {
    "$id": {
        "anyOf": [{"type": "string", "pattern": f"^{ID.pattern}$"}, {"type": "null"}],
        "not": {"enum": list(TAKEN)},
        "description": "The id to create it under; one is made where there is none",
    },
    "$context": {"description": "Accepted and ignored"},
}


WITHOUT_ID = frozenset({"createWebhook"})
"""Creating commands whose ids only the server makes."""


class Generator(GenerateJsonSchema):
    """Generates JSON schemas without titles that repeat field names, and with numeric defaults as numbers."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return in_milliseconds(dft)
        return float(dft) if isinstance(dft, Decimal) else super().encode_default(dft)


def components(rows: Iterable[Operation]) -> dict[str, Any]:
    """Every schema that the operations refer to, by name."""
    rows = tuple(rows)
    models = {model for row in rows for model in (row.body, row.answer) if is_model(model)}
    wanted = [(model, "validation") for model in sorted(models, key=lambda m: m.__name__)]
    _, made = models_json_schema(wanted, ref_template=REF, schema_generator=Generator)  # type: ignore[arg-type]  # the literal is widened
    schemas: dict[str, Any] = made["$defs"]
    for schema in schemas.values():
        if "description" in schema:  # the responses document the errors
            schema["description"] = schema["description"].partition("\n\nRaises:")[0]
    for row in rows:
        if is_model(row.body):
            _adapt_to_wire(row, schemas[row.body.__name__])
    if "ServiceExecution" in schemas:
        schemas["ChosenMembers"] = selection_schema(schemas["ServiceExecution"])
        schemas["ServiceExecution"]["properties"]["receipt"] = RECEIPT_OF_ANSWER
    return {
        **schemas,
        "Place": MINIMAL,
        "Problem": PROBLEM,
        "DryRun": DRY_RUN,
        "Receipt": RECEIPT,
    }


def _adapt_to_wire(row: Operation, schema: dict[str, Any]) -> None:
    """Adapt the schema of a body in place: remove members that are in the path, and add those of linked data."""
    for name in re.findall(r"{(\w+)}", row.path):
        schema["properties"].pop(name, None)
        if name in schema.get("required", ()):
            schema["required"].remove(name)
    if issubclass(row.body, Creation):
        name = row.body.wire_name
        linked = {**LINKED_DATA, "$type": {"enum": [TYPES[name], None]}}
        if name in WITHOUT_ID:
            del linked["$id"]
        schema["properties"] = {**linked, **schema["properties"]}
    if getattr(row.body, "wire_name", None) in STEP_COMMANDS:
        schema["properties"]["id"] = {
            "type": "string",
            "description": "The step once more; must be equal to that of the path",
        }


def schema_of(model: Any) -> Any:
    """A reference to the schema of a model; a schema is returned as it is; None allows every value."""
    if model is None:
        return {}
    return {"$ref": REF.format(model=model.__name__)} if is_model(model) else model


def is_model(model: Any) -> bool:
    """Whether the value is a pydantic model rather than a schema."""
    return isinstance(model, type) and issubclass(model, BaseModel)
