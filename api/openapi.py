"""The OpenAPI 3.1 document, assembled from the operations and the models they name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp

from api.access import Right
from api.answers import json
from api.operations import Call, Operation, Parameter
from api.problems import PROBLEM_JSON, PROBLEMS
from api.schemas import ID, PROBLEM

REF = "#/components/schemas/{model}"
COMMAND_HEADERS = (
    ("Idempotency-Key", "The same key within 24 hours gets the same answer", r"^[!-~]{1,128}$"),
    ("If-Match", 'Only at this version, like `"7"`', r'^(\*|(W/)?"[0-9]{1,18}")$'),
    ("Prefer", "`return=minimal` answers only with the place of the execution", None),
    ("X-Correlation-Id", "Kept with the events", r"^[!-~]{1,128}$"),
    ("X-Causation-Id", "Kept with the events", r"^[!-~]{1,128}$"),
)


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The whole document. `operations` are all rows there are."""
    rows = tuple(operations)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
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
            "schemas": {**_models(rows), "Problem": PROBLEM},
        },
    }


def _models(rows: Iterable[Operation]) -> dict[str, Any]:
    bodies = {row.body for row in rows if _is_model(row.body)}
    answers = {row.answer for row in rows if _is_model(row.answer)}
    wanted = [(model, "validation") for model in sorted(bodies | answers, key=lambda m: m.__name__)]
    _, schemas = models_json_schema(wanted, ref_template=REF)  # type: ignore[arg-type]  # the literal is widened
    return dict(schemas["$defs"])


def _operation(row: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.summary,
        "tags": [row.path.split("/")[1]],
        "parameters": [*_path_parameters(row), *_query_parameters(row), *_headers(row)],
        "responses": _responses(row),
    }
    if row.body is not None:
        described["requestBody"] = {
            "required": row.body_required,
            "content": {"application/json": {"schema": _schema(row.body)}},
        }
    if row.right is Right.OPEN:
        described["security"] = []
    else:
        described["description"] = f"Needs the right `{row.right}`."
    return described


def _path_parameters(row: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{ID.pattern}$"},
        }
        for name in re.findall(r"{(\w+)}", row.path)
    ]


def _query_parameters(row: Operation) -> list[dict[str, Any]]:
    return [_query_parameter(parameter) for parameter in row.parameters]


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _headers(row: Operation) -> list[dict[str, Any]]:
    if row.body is None or row.path.endswith("/find"):
        return []
    return [
        {
            "name": name,
            "in": "header",
            "description": meaning,
            "schema": {"type": "string"} | ({"pattern": pattern} if pattern else {}),
        }
        for name, meaning, pattern in COMMAND_HEADERS
    ]


def _responses(row: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(row.status): {
            "description": row.summary,
            "content": {row.media_type: {"schema": _schema(row.answer)}},
        }
    }
    codes = {*row.problems, "internal", "overloaded"}
    if row.right is not Right.OPEN:
        codes |= {"unauthenticated", "forbidden"}
    if row.body is not None:
        codes |= {"malformed", "invalid", "too-large", "unsupported-media-type"}
    if row.parameters or "{" in row.path:
        codes |= {"invalid", "not-found"}
    for code in sorted(codes, key=lambda code: PROBLEMS[code].status):
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


def _schema(model: Any) -> Any:
    if model is None:
        return {}
    return {"$ref": REF.format(model=model.__name__)} if _is_model(model) else model


def _is_model(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


@cache
def _served() -> dict[str, Any]:
    from api.main import OPERATIONS as ALL  # the document describes itself, too

    return document(ALL)


async def serve(_: Call) -> ASGIApp:
    """This document."""
    return json(_served())


async def problem(call: Call) -> ASGIApp:
    """What a problem code means."""
    from domain.errors import NotFound

    kind = PROBLEMS.get(call.path["code"])
    if kind is None:
        raise NotFound("There is no such problem code.")
    return json({"code": call.path["code"], "status": kind.status, "title": kind.title})


OPERATIONS = (
    Operation(
        "openapi",
        "GET",
        "/openapi.json",
        Right.OPEN,
        "This document",
        serve,
        answer={"type": "object"},
    ),
    Operation(
        "problem",
        "GET",
        "/problems/{code}",
        Right.OPEN,
        "What a problem code means",
        problem,
        answer={"type": "object"},
        problems=("not-found",),
    ),
)
