"""The names of events for webhooks, and the globs that select them."""

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
"""Every type of event, and whether it changes the status."""


def names(type_: str, *, final: bool = True) -> frozenset[str]:
    """The names of an event: its type, its short name, and `status_changed` if it changes the status.

    A failure that is not `final`, as a retry follows, does not have the short name `failed`; nor has it for watchers.
    """
    found = {type_}
    if type_ != FAILED or final:
        found.add(type_.removeprefix(PREFIX))
    if CHANGES_STATUS.get(type_, False):
        found.add(STATUS_CHANGED)
    return frozenset(found)


@lru_cache(maxsize=4_096)
def matches(patterns: tuple[str, ...], type_: str, *, final: bool = True) -> bool:
    """Whether one of the names or globs (`step.*`) matches a name of an event."""
    found = names(type_, final=final)
    return any(fits(pattern, name) for pattern in patterns for name in found)


def require_known(patterns: Iterable[str], types: Iterable[str] = tuple(CHANGES_STATUS)) -> None:
    """Check that each name or glob matches an event of one of these types. Raises ValueError."""
    all_types = tuple(types)
    for pattern in patterns:
        if not any(matches((pattern,), type_) for type_ in all_types):
            names = [STATUS_CHANGED, *(type_.removeprefix(PREFIX) for type_ in all_types)]
            near = meant(pattern.removeprefix(PREFIX), {name: name for name in names})
            raise ValueError(
                "must be names of events, such as `completed`, `status_changed` or `step.*`, "
                f"but no event is called `{pattern}`{near}"
            )
