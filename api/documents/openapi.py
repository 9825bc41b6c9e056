"""Makes the OpenAPI 3.1 document from the operations and their models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from api.access.rights import Right
from api.client.ids import ID
from api.documents.components import components, is_model, schema_of
from api.documents.schemas import CHOSEN_MEMBERS, COMMAND_LIST
from api.problems.codes import PROBLEMS
from api.problems.problems import PROBLEM_JSON
from api.web.operation import Operation, Parameter
from api.web.parameters import MIN_POSITION
from domain.model import Command

PATH_PARTS: Mapping[str, Any] = {
    "id": {"type": "string", "pattern": f"^{ID.pattern}$"},
    "step": {"type": "string", "minLength": 1, "maxLength": 255},
    "webhook": {"type": "string", "minLength": 1, "maxLength": 255},
    "position": {"type": "string", "pattern": "^[0-9]{1,18}$"},
    "code": {"type": "string"},
    "level": {"type": "integer", "minimum": 0, "maximum": 7},
    "index": {"type": "integer", "minimum": 0},
}
IF_MATCH = r'^(\*|(W/)?"[0-9]{1,18}(-[a-z0-9-]*)?"(, *(W/)?"[0-9]{1,18}(-[a-z0-9-]*)?")*)$'
Header = tuple[str, str, str | None]
"""The name, the meaning and the pattern of a request header."""

DRY_RUN = {"$ref": "#/components/schemas/DryRun"}

ONCE: Header = (
    "Idempotency-Key",
    "The same key within 24 hours gets the same answer",
    r"^[!-~]{1,128}$",
)
MATCH: Header = ("If-Match", 'Only at this version, like `"7"`, or at one of several', IF_MATCH)
CAUSES: tuple[Header, ...] = (
    ("X-Correlation-Id", "Kept with the events", r"^[!-~]{1,128}$"),
    ("X-Causation-Id", "Kept with the events", r"^[!-~]{1,128}$"),
    (
        "X-Worker",
        "The worker that sends it: refused where it has lost its lease",
        r"^[!-~]{1,128}$",
    ),
)
PURPOSE: Header = (
    "X-Purpose",
    "The purpose of the read, which the access log records; required of auditors",
    None,
)
PREFER: Header = (
    "Prefer",
    "`return=minimal` answers only with the place; `receipt` waits until a signed head covers it, and adds the proof",
    None,
)
ANSWER_HEADERS: Mapping[str, str] = {
    "Log-Position": "How far the data goes, or the position of the command's last event",
    "ETag": "The version, and what else is shown, for If-Match and If-None-Match",
    "Location": "The path of the new resource",
    "Link": "The next page of a bare list, as `rel=next`",
    "Next-Cursor": "The cursor of the next page of a bare list",
    "Total-Count": "How many there are, where `count` asked for it in a bare list",
    "Idempotency-Replayed": "`true` where this answer was given before",
    "Preference-Applied": "`return=minimal`, `receipt`, or both, where that was preferred and done",
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Make the document of all operations."""
    rows = tuple(operations)
    schemas = components(rows)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Service executions",
            "version": "1",
            "description": "Record, query, replay and stream the executions of services.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api"}, {"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    }


def _operation(row: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.summary,
        "tags": [row.path.split("/")[1]],
        "parameters": [*_path_parameters(row), *_query_parameters(row), *_headers(row)],
        "responses": _responses(row),
    }
    if row.body is not None:
        described["requestBody"] = {
            "required": _requires_body(row, schemas),
            "content": _content({"application/json": row.body, **row.body_forms}),
        }
    if row.right is Right.OPEN:
        described["security"] = []
    else:
        described["description"] = f"Needs the right `{row.right}`."
    return described


def _requires_body(row: Operation, schemas: Mapping[str, Any]) -> bool:
    """Whether a body is required. A command without required members may be sent without a body."""
    name = getattr(row.body, "__name__", "")
    return "required" in schemas.get(name, ()) and bool(schemas[name]["required"])


def _content(forms: Mapping[str, Any]) -> dict[str, Any]:
    return {media: {"schema": schema_of(form)} for media, form in forms.items()}


def _path_parameters(row: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": PATH_PARTS[name],
        }
        for name in re.findall(r"{(\w+)}", row.path)
    ]


def _query_parameters(row: Operation) -> list[dict[str, Any]]:
    return [_query_parameter(parameter) for parameter in row.parameters]


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _headers(row: Operation) -> list[dict[str, Any]]:
    headers: tuple[Header, ...] = (
        *((ONCE,) if _is_idempotent(row) else ()),
        *((MATCH,) if _takes_if_match(row) else ()),
        *(CAUSES if _is_command(row) else ()),
        *((PURPOSE,) if row.shows_executions else ()),
        *((PREFER,) if "Preference-Applied" in row.sends else ()),
    )
    return [
        {
            "name": name,
            "in": "header",
            "description": meaning,
            "schema": {"type": "string"} | ({"pattern": pattern} if pattern else {}),
        }
        for name, meaning, pattern in headers
    ]


def _is_idempotent(row: Operation) -> bool:
    return _is_command(row) or "idempotency-key-reused" in row.problems


def _takes_if_match(row: Operation) -> bool:
    return _is_command(row) or "version-mismatch" in row.problems


def _is_command(row: Operation) -> bool:
    return row.body is COMMAND_LIST or (is_model(row.body) and issubclass(row.body, Command))


def _responses(row: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(row.status): {
            "description": row.summary,
            "headers": _answer_headers(row),
            "content": _content({row.media_type: _answer_schema(row), **row.answer_forms}),
        },
        **{str(status): _other_success(row, status) for status in row.others},
    }
    if row.status != 200 and _has_parameter(row, "dryRun"):
        content = _content({row.media_type: DRY_RUN})
        responses["200"] = {"description": "With `dryRun=true`", "content": content}
    for code in sorted(_refusals(row), key=lambda code: (PROBLEMS[code].status, code)):
        kind = PROBLEMS[code]
        shown = responses.setdefault(
            str(kind.status),
            {
                "description": "",
                "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        )
        shown["description"] += f"{', ' if shown['description'] else ''}{code}"
    return responses


def _other_success(row: Operation, status: int) -> dict[str, Any]:
    schema = row.other_answers.get(status)
    if schema is row.answer:
        schema = _answer_schema(row)
    shown = {} if schema is None else {"content": _content({row.media_type: schema})}
    return {"description": row.others[status], **shown}


def _has_parameter(row: Operation, name: str) -> bool:
    return any(parameter.name == name for parameter in row.parameters)


def _answer_schema(row: Operation) -> Any:
    forms = [schema_of(row.answer)]
    if "Preference-Applied" in row.sends:
        forms.append({"$ref": "#/components/schemas/Place"})
    if row.status == 200 and _has_parameter(row, "dryRun"):
        forms.append(DRY_RUN)
    if is_model(row.answer) and _has_parameter(row, "fields"):
        forms.append(CHOSEN_MEMBERS)
    return row.answer if len(forms) == 1 else {"anyOf": forms}


def _refusals(row: Operation) -> set[str]:
    codes = {*row.problems, "malformed", "invalid", "damaged", "internal", "overloaded"}
    if row.right is not Right.OPEN:
        codes |= {"unauthenticated", "forbidden", "rate-limited"}
    if row.shows_executions:
        codes |= {"purpose-required"}
    if row.body is not None:
        codes |= {"too-large", "unsupported-media-type"}
    if _is_command(row):
        codes |= {"version-mismatch", "idempotency-key-reused", "outcome-unknown"}
    if "{" in row.path:
        codes |= {"not-found"}
    if codes & {"not-found", "already-exists"}:
        codes |= {"misdirected"}
    if MIN_POSITION in row.parameters:
        codes |= {"not-yet-visible", "other-log"}
    return codes


def _answer_headers(row: Operation) -> dict[str, Any]:
    return {
        name: {"description": ANSWER_HEADERS[name], "schema": {"type": "string"}}
        for name in row.sends
    }
