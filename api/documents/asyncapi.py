"""Makes the AsyncAPI 3 document of the streams, from the operations of the OpenAPI document and the models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.web.operation import Operation
from projections.representations.stream_frames import CONTROLS, FRAMES, WORDS, Envelope, Log

REF = "#/components/schemas/{model}"
SENT: tuple[type[BaseModel], ...] = (Envelope, *FRAMES, Log, *CONTROLS)
"""The messages that the server may send on every path; `format` selects envelopes or the frames for watchers."""
MODELS: tuple[type[BaseModel], ...] = (*SENT, *WORDS)
SERVERS = {
    "events": {
        "host": "localhost:8000",
        "protocol": "https",
        "pathname": "/api",
        "description": "Server-sent events: `Accept: text/event-stream`; `data:` is a message, "
        "`id:` the cursor after it, `event:` its type, which messages about the stream say only there",
        "security": [{"$ref": "#/components/securitySchemes/token"}],
    },
    "sockets": {
        "host": "localhost:8000",
        "protocol": "wss",
        "pathname": "/api",
        "description": "WebSocket: each text message is a message. Browsers, which can set no "
        "header, offer the subprotocols `executions` and `bearer.<base64url of the token>`",
        "security": [{"$ref": "#/components/securitySchemes/token"}],
    },
}


def document(rows: Iterable[Operation]) -> dict[str, Any]:
    """Make the document. `rows` are the operations of streams."""
    rows = tuple(rows)
    operations = {row.name: _receive(row) for row in rows}
    operations |= {f"steer{row.name[0].upper()}{row.name[1:]}": _send(row) for row in rows}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Streams of service executions",
            "version": "1",
            "description": "Every event once and in order, from any position on. The cursor is "
            "the position: come back with the last one, and nothing is lost.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": SERVERS,
        "channels": {row.name: _channel(row) for row in rows},
        "operations": operations,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "messages": {model.__name__: _message(model) for model in MODELS},
            "schemas": _schemas(MODELS),
        },
    }


def _channel(row: Operation) -> dict[str, Any]:
    shown = {
        "address": row.path,
        "title": row.summary,
        "messages": {
            model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in MODELS
        },
        "bindings": {"ws": {"method": "GET", "query": _query(row), "bindingVersion": "0.1.0"}},
    }
    if parameters := re.findall(r"{(\w+)}", row.path):
        shown["parameters"] = {
            name: {"description": "The id of an execution"} for name in parameters
        }
    return shown


def _query(row: Operation) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            parameter.name: {"description": parameter.description, **parameter.schema}
            for parameter in row.parameters
        },
    }


def _receive(row: Operation) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{row.name}"},
        "summary": row.summary,
        "description": f"Needs the right `{row.right}`.",
        "messages": _references(row, SENT),
    }


def _send(row: Operation) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{row.name}"},
        "summary": "The messages of a client, over WebSocket only",
        "messages": _references(row, WORDS),
    }


def _references(row: Operation, models: Iterable[type[BaseModel]]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{row.name}/messages/{model.__name__}"} for model in models]


def _message(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "name": model.__name__,
        "summary": (model.__doc__ or "").partition("\n")[0],
        "payload": {"$ref": REF.format(model=model.__name__)},
    }


def _schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    wanted = [(model, "validation") for model in models]
    _, schemas = models_json_schema(wanted, ref_template=REF)  # type: ignore[arg-type]  # the literal is widened
    return dict(schemas["$defs"])
