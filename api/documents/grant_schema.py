"""The schema of a grant."""

from __future__ import annotations

from typing import Any

from api.client.ids import ID

_TIME = {"type": "string", "format": "date-time"}
_BY = {"by": {"type": "string"}, "at": _TIME}
GRANT: dict[str, Any] = {
    "type": "object",
    "description": "What an auditor may read, for a purpose, until a time",
    "required": [
        *("$type", "$id", "status", "auditor", "purpose", "expiresAt", "by", "at"),
        *("version", "position"),
    ],
    "properties": {
        "$type": {"const": "Grant"},
        "$id": {"type": "string", "pattern": f"^{ID.pattern}$"},
        "status": {"enum": ["active", "expired", "revoked"]},
        "auditor": {"type": "string"},
        "executions": {"type": "array", "items": {"type": "string"}},
        "order": {"type": "string"},
        "service": {"type": "string"},
        "filter": {"type": "object"},
        "within": {
            "type": "object",
            "description": "What the maker of the grant reached: no more is granted",
        },
        "purpose": {"type": "string"},
        "expiresAt": _TIME,
        **_BY,
        "revocation": {
            "type": "object",
            "required": list(_BY),
            "properties": _BY,
            "additionalProperties": False,
        },
        "version": {"type": "integer", "minimum": 1},
        "position": {"type": "integer", "minimum": 1},
    },
    "additionalProperties": False,
}
