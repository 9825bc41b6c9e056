"""The JSON schemas of API keys, the caller and sessions."""

from __future__ import annotations

from typing import Any, get_args

from api.access.rights import Right
from domain.access.key import KeyRole, KeyStatus
from domain.types import ID

TEXT = {"type": "string"}
TIME = {"type": "string", "format": "date-time"}
FROM_ONE = {"type": "integer", "minimum": 1}
KEY: dict[str, Any] = {
    "type": "object",
    "description": "An API key: its holder and its rights. The key itself is only in the answer to its creation",
    "required": ["$type", "$id", "role", "status", "createdBy", "createdAt", "version", "position"],
    "properties": {
        "$type": {"const": "ApiKey"},
        "$id": {"type": "string", "pattern": ID},
        "role": {"enum": list(get_args(KeyRole))},
        "party": TEXT,
        "customer": TEXT,
        "provider": TEXT,
        "name": TEXT,
        "rights": {"type": "array", "items": {"enum": list(Right)}},
        "status": {"enum": list(KeyStatus)},
        "expiresAt": TIME,
        "createdBy": TEXT,
        "createdAt": TIME,
        "revocation": {
            "type": "object",
            "required": ["by", "at"],
            "properties": {"by": TEXT, "at": TIME},
        },
        "version": FROM_ONE,
        "position": FROM_ONE,
        "lastUsedAt": TIME,
        "key": {"type": "string", "pattern": "^exk_[0-9A-Za-z]{49}$"},
    },
    "additionalProperties": False,
}
NAMES = {"type": "array", "items": TEXT}
ME: dict[str, Any] = {
    "type": "object",
    "description": "The identity of the caller, and its rights for what is in its scope",
    "required": ["name", "rights", "credential"],
    "properties": {
        "name": TEXT,
        "roles": NAMES,
        "customer": TEXT,
        "provider": TEXT,
        "subject": TEXT,
        "rights": NAMES,
        "credential": {"type": "string", "description": "admin-token, key, jwt or session"},
        "expiresAt": TIME,
    },
    "additionalProperties": False,
}
CODE: dict[str, Any] = {
    "type": "object",
    "required": ["code", "expiresAt"],
    "properties": {"code": TEXT, "expiresAt": TIME},
    "additionalProperties": False,
}
SIGNED_OUT: dict[str, Any] = {
    "type": "object",
    "description": "Whether a session was ended",
    "required": ["signedOut"],
    "properties": {"signedOut": {"type": "boolean"}},
    "additionalProperties": False,
}
