"""The names of events that a webhook may ask for, and which of them an event has."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from domain.globs import fits, meant

PREFIX = "execution."
FAILED = "execution.failed"
STATUS_CHANGED = "status_changed"

CHANGES_STATUS = {
    "execution.created": True,
    "execution.starting": True,
    "execution.started": True,
    "execution.progress": False,
    "execution.checkpoint": False,
    "execution.paused": True,
    "execution.resumed": True,
    "execution.completed": True,
    "execution.failed": True,
    "execution.retry": True,
    "execution.cancelled": True,
    "execution.updated": False,
    "execution.claimed": False,
    "execution.released": True,
    "execution.stalled": False,
    "execution.recovered": False,
    "execution.erased": False,
    "execution.steps.added": False,
    "execution.step.started": False,
    "execution.step.completed": False,
    "execution.step.failed": False,
    "execution.step.skipped": False,
    "execution.usage": False,
}
"""Every type of event, and whether the status is another afterwards."""


def names(type_: str, *, final: bool = True) -> frozenset[str]:
    """What an event is called: its type, its short name, and `status_changed` where that is so.

    A failure that is not `final`, as a retry follows, is not called `failed`, as for watchers.
    """
    found = {type_}
    if type_ != FAILED or final:
        found.add(type_.removeprefix(PREFIX))
    if CHANGES_STATUS.get(type_, False):
        found.add(STATUS_CHANGED)
    return frozenset(found)


@lru_cache(maxsize=4_096)
def matches(patterns: tuple[str, ...], type_: str, *, final: bool = True) -> bool:
    """Whether one of the names or globs (`step.*`) names an event."""
    found = names(type_, final=final)
    return any(fits(pattern, name) for pattern in patterns for name in found)


def require_known(patterns: Iterable[str], types: Iterable[str] = tuple(CHANGES_STATUS)) -> None:
    """Raises ValueError where no event of these types has one of the names or globs, whatever happens."""
    known = tuple(types)
    for pattern in patterns:
        if not any(matches((pattern,), type_) for type_ in known):
            names = [STATUS_CHANGED, *(type_.removeprefix(PREFIX) for type_ in known)]
            near = meant(pattern.removeprefix(PREFIX), {name: name for name in names})
            raise ValueError(
                "must be names of events, such as `completed`, `status_changed` or `step.*`, "
                f"but no event is called `{pattern}`{near}"
            )
