"""Converts the names in a log to ids and keys of the service; distinct names stay distinct."""

import hashlib
import math
import re
from datetime import datetime

from api.client.ids import TAKEN
from api.interop.xes.reader import Attributes
from api.interop.xes.values import Value

LONGEST = 127
"""Characters of a part of an id: two parts and a colon are within the 255 characters of an id."""
_FOREIGN = re.compile(r"[^A-Za-z0-9._-]")
_DIGEST = 16

# Names that the service itself uses in the metadata of an execution.
RESERVED = frozenset(
    {"", "createdAt", "updatedAt", "startedAt", "completedAt", "environment", "version"}
)


def id_part(name: str) -> str:
    """The name, if an id may have it; else a readable form of the name, `~`, and its digest."""
    if len(name) <= LONGEST and not _FOREIGN.search(name):
        return name
    return _with_digest(name)


def _with_digest(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{_FOREIGN.sub('-', name)[: LONGEST - _DIGEST - 1]}~{digest}"


def order_id(log: str) -> str:
    """The id of the order of a log, from the log's name; with a digest where the id would be reserved."""
    return _with_digest(log) if log in TAKEN else id_part(log)


def execution_id(log: str, trace: str) -> str:
    return f"{id_part(log)}:{id_part(trace)}"


def wire_time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wire_value(value: Value) -> str | int | float | bool:
    """Convert a value for JSON: times and infinite numbers become text, as in XES."""
    if isinstance(value, datetime):
        return wire_time(value)
    if isinstance(value, float) and math.isinf(value):
        return "INF" if value > 0 else "-INF"
    return value


def metadata(attributes: Attributes) -> dict[str, str | int | float | bool]:
    """Convert attributes to free metadata; a key that the service uses gets the prefix `xes:`."""
    free: dict[str, str | int | float | bool] = {}
    for key, value in attributes.items():
        name = key
        while name in RESERVED or name.startswith("$") or (name != key and name in attributes):
            name = f"xes:{name}"
        free[name] = wire_value(value)
    return free
