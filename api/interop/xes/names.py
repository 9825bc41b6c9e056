"""Names of a log as ids and keys of the service; distinct names stay distinct."""

import hashlib
import math
import re
from datetime import datetime

from api.client.ids import TAKEN
from api.interop.xes.reader import Attributes
from api.interop.xes.values import Value

LONGEST = 127
"""Of one part: two parts and a colon stay within the 255 characters of an id."""
_FOREIGN = re.compile(r"[^A-Za-z0-9._-]")
_DIGEST = 16

# Names that the service itself keeps in an execution's metadata.
RESERVED = frozenset(
    {"", "createdAt", "updatedAt", "startedAt", "completedAt", "environment", "version"}
)


def id_part(name: str) -> str:
    """The name where it may stand in an id; else a legible form of it, `~`, and its digest."""
    if len(name) <= LONGEST and not _FOREIGN.search(name):
        return name
    return _with_digest(name)


def _with_digest(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{_FOREIGN.sub('-', name)[: LONGEST - _DIGEST - 1]}~{digest}"


def order_id(log: str) -> str:
    """The id of a log's order: that of its name, with a digest too where nothing can have that id."""
    return _with_digest(log) if log in TAKEN else id_part(log)


def execution_id(log: str, trace: str) -> str:
    return f"{id_part(log)}:{id_part(trace)}"


def wire_time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wire_value(value: Value) -> str | int | float | bool:
    """JSON has neither times nor infinite numbers: they become text, as XES writes them."""
    if isinstance(value, datetime):
        return wire_time(value)
    if isinstance(value, float) and math.isinf(value):
        return "INF" if value > 0 else "-INF"
    return value


def metadata(attributes: Attributes) -> dict[str, str | int | float | bool]:
    """Attributes as free metadata; a key that the service needs gets `xes:` in front."""
    free: dict[str, str | int | float | bool] = {}
    for key, value in attributes.items():
        name = key
        while name in RESERVED or name.startswith("$") or (name != key and name in attributes):
            name = f"xes:{name}"
        free[name] = wire_value(value)
    return free
