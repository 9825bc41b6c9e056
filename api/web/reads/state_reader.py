"""Reads the state of the execution that a request asks for: now, or at a version or a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from api.web import responses
from api.web.parameters import parse_time_parameter
from api.web.reads.consistency import Consistency
from api.web.request import Request
from domain.errors import Invalid
from domain.eventlog.states import LoadedState, PositionOrTime
from domain.execution.parts import Step
from domain.model import Versioned
from projections.history.time_travel import History, existing
from projections.representations.execution import document


class ReadState(NamedTuple):
    """A state, the time until which its durations count, and the position that it was read at.

    `moment`: the position or the time of the state, None for now; other data that is shown must be of it, too.
    `immutable`: the state can never change. `counting`: its durations grow from one read to the next.
    `heard_at`: the time of the last heartbeat, of a current state. `erased`: the content has been erased by now,
    even where the state is of before.
    """

    versioned: Versioned[Any]
    until: datetime
    position: int
    moment: PositionOrTime | None = None
    immutable: bool = False
    counting: bool = False
    heard_at: datetime | None = None
    erased: bool = False

    def document(self, steps: Iterable[Step] | None = None) -> dict[str, Any]:
        """The execution as clients see it, with the given steps or with all."""
        return self.mark_erased(document(self.versioned, self.until, steps, self.heard_at))

    def mark_erased(self, shown: dict[str, Any]) -> dict[str, Any]:
        """Add the member `erased` to a document, where the content was erased."""
        return {**shown, "erased": True} if self.erased else shown


class StateReader:
    """Reads the state of the execution in a request's path."""

    def __init__(
        self, history: History, consistency: Consistency, clock: Callable[[], datetime]
    ) -> None:
        self.history = history
        self.clock = clock
        self._consistency = consistency

    async def read_whole(self, request: Request) -> ReadState:
        """Read the execution now, or at `?version=` or `?at=`, with the last heartbeat of one that has not ended."""
        state = await self.read(request)
        if state.moment is not None or not state.counting:
            return state
        return state._replace(heard_at=await self.history.last_heartbeat(state.versioned.state.id))

    async def read(self, request: Request) -> ReadState:
        """Read the execution now, or at `?version=` or `?at=`.

        Raises:
            NotFound: there is no such execution, or was none then.
            Invalid: both parameters are given.
        """
        until = _until(request)
        reading = await self._load(request, f"execution/{request.path['id']}", until)
        versioned, now = existing(reading, until), self.clock()
        if until is None:
            counting = versioned.state.started_at is not None and not versioned.state.final
            return ReadState(
                versioned, now, reading.position, counting=counting, erased=reading.erased
            )
        if isinstance(until, int):
            return ReadState(
                versioned,
                versioned.at,
                versioned.position,
                versioned.position,
                immutable=True,
                erased=reading.erased,
            )
        settled, counting = _is_settled(reading, until), until > now and not versioned.state.final
        return ReadState(
            versioned,
            min(until, now),
            versioned.position,
            until,
            immutable=settled,
            counting=counting,
            erased=reading.erased,
        )

    async def _load(
        self, request: Request, stream: str, until: int | datetime | None
    ) -> LoadedState:
        if until is None:
            return await self._consistency.read(request, lambda: self.history.read(stream))
        return await self._consistency.read_past(
            request,
            lambda store: History(store).read(stream, until),
            lambda reading: _is_settled(reading, until),
        )


def _is_settled(reading: LoadedState, until: int | datetime) -> bool:
    """Whether no event that is recorded later can change a state of the past."""
    if isinstance(until, int):
        return reading.versioned is not None and reading.versioned.version == until
    return until < reading.at


def _until(request: Request) -> int | datetime | None:
    version, at = request.integer("version", 1, 2**53), request.parameter("at")
    if version is not None and at is not None:
        raise Invalid.field("at", "must be left out where `version` is given")
    return version if at is None else parse_time_parameter("at", at)


def state_response(
    request: Request,
    state: ReadState,
    shown: Any,
    tag: responses.Tag | None = None,
    *,
    revalidated: bool = True,
) -> ASGIApp:
    """The response with `shown`, a document made of `state`."""
    return responses.read(
        request,
        shown,
        tag or responses.Tag(state.versioned.version),
        state.position,
        immutable=state.immutable and not state.erased,
        revalidated=revalidated
        and not state.erased,  # the client may have cached the content before the erasure
    )
