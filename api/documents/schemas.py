"""JSON schemas of answers that are not models of the domain: pages, outcomes, problems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.client.ids import ID
from projections.executions.columns import FIELDS, LISTED

PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}

COMMAND_LIST = {
    "type": "array",
    "minItems": 1,
    "maxItems": 1000,
    "items": {
        "type": "object",
        "required": ["command"],
        "properties": {
            "command": {"type": "string", "description": "The command's word, like `startStep`"},
            "execution": {"type": "string", "pattern": f"^{ID.pattern}$"},
            "ifMatch": {"type": "integer", "minimum": 0},
        },
        "additionalProperties": True,
        "description": "The command's own members stand beside these",
    },
}

FILTER = {
    "type": "object",
    "description": "Fields, also dotted, each with a value or operators: $eq $ne $gt $gte $lt $lte "
    "$in $nin $exists $prefix $not; and $and, $or, $not over such objects. The fields are "
    f"{', '.join([*FIELDS, *LISTED])}, and `metadata.` with the path of a free attribute",
    "additionalProperties": True,
    "examples": [
        {
            "status": {"$in": ["running", "paused"]},
            "metadata.createdAt": {"$gte": "2026-01-01T00:00:00Z"},
        }
    ],
}

HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
RECEIPT = {
    "type": "object",
    "description": "Proves that an event is in the log: the path (RFC 9162) leads from its leaf to the root that "
    "the note (C2SP checkpoint) has signed",
    "required": ["position", "leafHash", "treeSize", "rootHash", "path", "note", "publicKey"],
    "properties": {
        "position": {"type": "integer", "minimum": 1},
        "leafHash": HASH,
        "treeSize": {"type": "integer", "minimum": 1},
        "rootHash": HASH,
        "path": {"type": "array", "items": HASH},
        "note": {"type": "string"},
        "publicKey": {"type": "string"},
    },
    "additionalProperties": False,
}
RECEIPT_OF_ANSWER = {
    "$ref": "#/components/schemas/Receipt",
    "description": "In the answer to a command with `Prefer: receipt`: of its last event",
}
MINIMAL = {
    "type": "object",
    "description": "Where an execution stands: the answer to `Prefer: return=minimal`",
    "required": ["$id", "status", "version", "position"],
    "properties": {
        "$id": {"type": "string", "pattern": f"^{ID.pattern}$"},
        "status": {"$ref": "#/components/schemas/Status"},
        "version": {"type": "integer", "minimum": 1},
        "position": {"type": "integer", "minimum": 1},
        "claimedBy": {
            "type": "object",
            "description": "Of a heartbeat: whose it is, and until when",
            "required": ["worker"],
            "properties": {
                "worker": {"type": "string"},
                "leaseUntil": {"type": "string", "format": "date-time"},
            },
            "additionalProperties": False,
        },
        "receipt": RECEIPT_OF_ANSWER,
    },
    "additionalProperties": False,
}

ENTRY = {
    "type": "object",
    "description": "A service, workflow, order, user or legal hold",
    "required": ["$type", "$id", "version", "position"],
    "properties": {
        "$type": {"enum": ["Service", "BusinessWorkflow", "ServiceOrder", "User", "LegalHold"]},
        "$id": {"type": "string", "pattern": f"^{ID.pattern}$"},
        "version": {"type": "integer", "minimum": 1},
        "position": {"type": "integer", "minimum": 1},
        "cancellation": {
            "$ref": "#/components/schemas/ShownCancellation",
            "description": "Of a cancelled order",
        },
    },
}

COUNT = {"type": "integer", "minimum": 0}
OUTCOME_LIST = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["status", "execution"],
        "properties": {
            "status": {"type": "integer"},
            "execution": {"type": ["string", "null"]},
            "version": {"type": "integer"},
            "position": {"type": "integer"},
            "problem": {"$ref": "#/components/schemas/Problem"},
        },
    },
}


STEP_COMPARED = {
    "type": "object",
    "required": ["matchedBy", "this", "with", "differs", "difference"],
    "properties": {
        "matchedBy": {"enum": ["id", "name", None]},
        "this": {"type": ["object", "null"]},
        "with": {"type": ["object", "null"]},
        "differs": {
            "type": "array",
            "items": {
                "enum": ["presence", "order", "name", "status", "input", "output", "error"],
            },
        },
        "difference": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}

COMPARISON = {
    "type": "object",
    "description": "Two executions step by step; a difference is the other's value less this one's",
    "required": ["this", "with", "difference", "firstDivergence", "steps"],
    "properties": {
        "this": {"type": "object", "required": ["$id", "version", "status"]},
        "with": {"type": "object", "required": ["$id", "version", "status"]},
        "difference": {"type": "object", "additionalProperties": {"type": "number"}},
        "firstDivergence": {
            "anyOf": [{"type": "null"}, {**STEP_COMPARED, "required": ["index", "differs"]}]
        },
        "steps": {"type": "array", "items": STEP_COMPARED},
    },
}


DRY_RUN = {
    "type": "object",
    "description": "The answer to `dryRun=true`: what would be recorded, as envelopes without `id` "
    "and `position`, and the document after it, under its kind",
    "required": ["events"],
    "properties": {"events": {"type": "array", "items": {"type": "object"}}},
    "additionalProperties": {"type": "object"},
}


FACETS = {
    "type": "object",
    "description": "For each field asked for, how many executions there are of each value",
    "additionalProperties": {
        "type": "object",
        "required": ["values"],
        "properties": {
            "values": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["value", "count"],
                    "properties": {
                        "value": {"type": ["string", "number", "boolean", "null"]},
                        "count": {"type": "integer"},
                    },
                },
            },
            "rest": {
                "type": "object",
                "description": "How many more values there are, and how many executions have them",
                "required": ["values", "count"],
                "properties": {"values": {"type": "integer"}, "count": {"type": "integer"}},
            },
        },
    },
}


def page_of(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make the schema of a page of a list, with further members."""
    return {
        "type": "object",
        "required": ["data", "hasMore", "nextCursor"],
        "properties": {
            "data": {"type": "array", "items": item},
            "hasMore": {"type": "boolean"},
            "nextCursor": {"type": ["string", "null"]},
            "total": {"type": "integer"},
            **more,
        },
    }


def filter_beside(paging: Mapping[str, Any]) -> dict[str, Any]:
    """Make the schema of a filter, or of a filter with paging members beside it."""
    beside = {
        "type": "object",
        "properties": {"filter": FILTER, **paging},
        "additionalProperties": False,
    }
    return {"anyOf": [FILTER, beside]}


CHOSEN_MEMBERS = {"$ref": "#/components/schemas/ChosenMembers"}
UNREADABLE = {
    "type": "object",
    "description": "An execution that cannot be read, as it is damaged",
    "required": ["$type", "$id", "unreadable"],
    "properties": {
        "$type": {"const": "ServiceExecution"},
        "$id": {"type": "string"},
        "unreadable": {"const": True},
    },
    "additionalProperties": False,
}
_EXECUTION = {
    "anyOf": [{"$ref": "#/components/schemas/ServiceExecution"}, CHOSEN_MEMBERS, UNREADABLE]
}
CURSORS = {"type": "array", "items": {"type": "string"}}
SORT_VALUES = {"type": "array", "items": {"type": "array"}}
LENGTHS = {"type": "array", "items": {"type": "integer"}}
EXECUTION_LIST = {
    "anyOf": [
        page_of(
            _EXECUTION, facets=FACETS, cursors=CURSORS, sortValues=SORT_VALUES, lengths=LENGTHS
        ),
        {"type": "array", "items": _EXECUTION},
    ]
}
_CELL = {"cell": {"type": "string"}}
CELLS_LIST = page_of(
    {
        "type": "object",
        "description": "A ServiceExecution, or the members that `fields` names; `cell` is the name of its log",
        "required": ["cell"],
        "properties": _CELL,
    },
    cells={
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["position"],
            "properties": {"position": {"type": "integer"}},
        },
    },
    missing={
        "type": "array",
        "items": {
            "type": "object",
            "required": ["cell", "reason"],
            "properties": {**_CELL, "reason": {"type": "string"}},
        },
    },
)


def selection_schema(execution: Mapping[str, Any]) -> dict[str, Any]:
    """Make the schema of an execution with only the members that `fields` names."""
    return {
        "type": "object",
        "description": "With `fields`: those members of a ServiceExecution, or parts of them",
        "properties": {name: {} for name in execution["properties"]},
        "additionalProperties": False,
    }
