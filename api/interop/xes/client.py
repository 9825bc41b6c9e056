"""The client of an import: few calls of the running service, with retries that outlast a restart."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from api.client.connection import reason
from service_executions import (
    AlreadyExists,
    ApiError,
    Client,
    ConnectionFailed,
    ExecutionsError,
    NotFound,
    Query,
    TooExpensive,
)
from service_executions._sync.transport import Transport
from service_executions.requests import JSON_TYPE, Request, post, read, segment
from service_executions.retries import passing

JSON = dict[str, Any]

RETRIES = 30
"""Retries of one call, with pauses of up to 8 seconds, as the service may be restarted meanwhile."""
FIRST_RETRIES = 4
"""Retries of one call to a service that has not answered yet, and perhaps is not running."""
TIMEOUT = 60.0
"""Seconds for one answer."""
FIND = "/executions/find?limit=500&fields=$id,order,status,version,checkpoints.id"
OPTIONS: JSON = {"max_retries": FIRST_RETRIES, "timeout": TIMEOUT, "consistency": "eventual"}
"""Options of the client. The import checks itself whether a list has its writes."""


class ServiceFailed(Exception):
    """The service is unreachable, or has refused a whole call."""


class ServiceAway(ServiceFailed):
    """The service has answered before: the same call may succeed when it is available again."""


class ServiceClient:
    def __init__(self, client: Client) -> None:
        self.url = client.url
        self._client = client
        self._patient = client.with_options(max_retries=RETRIES)
        self._has_answered = False

    def close(self) -> None:
        """Close the client; calls that wait for the service in other threads end after their pause."""
        self._client.close()

    def reach(self) -> None:
        """Ask whether the service is there, so that later calls wait for it. Any answer of the service will do.

        Raises:
            ServiceFailed: nothing answers, or something else than the service.
        """
        try:
            self._send(read("/healthz"), ApiError)
        except ApiError:
            self._has_answered = True

    def ensure(self, path: str, resource: JSON, *, agree: Iterable[str] = ()) -> None:
        """Create a resource. One that exists already must have the same values of the members in `agree`."""
        try:
            self._send(post(path, resource), AlreadyExists)
        except AlreadyExists:
            existing = self._object(read(f"{path}/{segment(resource['$id'])}"))
        else:
            return
        for key in agree:
            if _id(existing.get(key)) != resource[key]:
                raise ServiceFailed(
                    f"{path}/{resource['$id']} exists with {key} {_id(existing.get(key))!r}, "
                    f"the mapping says {resource[key]!r}"
                )

    def find(self, executions: list[str]) -> dict[str, JSON]:
        """Find which of at most 500 executions exist, by id, as of the list's view.

        Where the search takes a busy service too long, it is repeated with each half of the ids.
        """
        wanted = post(FIND, {"$id": {"$in": executions}})
        expected = (TooExpensive,) if len(executions) > 1 else ()
        try:
            return {row["$id"]: row for row in self._object(wanted, *expected)["data"]}
        except TooExpensive:
            half = len(executions) // 2
            return self.find(executions[:half]) | self.find(executions[half:])

    def execution(self, execution: str) -> JSON | None:
        """The current state of an execution; None where it does not exist."""
        try:
            existing: JSON = self._object(read(f"/executions/{segment(execution)}"), NotFound)
        except NotFound:
            return None
        return existing

    def history(self, execution: str) -> list[JSON]:
        """All events of an execution, oldest first."""
        path = f"/executions/{segment(execution)}/events"
        with self._explain_errors(path):
            asked = read(path, {"order": "asc", "limit": 500})
            events: Query[JSON] = Query(self._transport, asked, dict)
            return events.all()

    def send(self, commands: list[bytes]) -> list[JSON]:
        """Send at most 1000 encoded commands, and return one answer for each, in order."""
        body = b"[" + b",".join(commands) + b"]"
        answers = self._object(Request("POST", "/commands", content=body, headers=JSON_TYPE))
        if len(answers) != len(commands):
            raise ServiceFailed(f"{len(commands)} commands were answered by {len(answers)} answers")
        return list(answers)

    def pause(self, attempt: int) -> None:
        """Wait before an execution is read again."""
        time.sleep(0.1 * 2.0**attempt)

    @property
    def _transport(self) -> Transport:
        return (self._patient if self._has_answered else self._client).transport

    def _object(self, request: Request, *expected: type[ApiError]) -> Any:
        content = self._send(request, *expected)
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            raise self._not_the_service() from None

    def _send(self, request: Request, *expected: type[ApiError]) -> bytes:
        with self._explain_errors(f"{request.method} {request.path}", *expected):
            return self._transport.send(request).content

    @contextmanager
    def _explain_errors(self, call: str, *expected: type[ApiError]) -> Iterator[None]:
        """Convert errors of the SDK in the block, except `expected` ones, to ServiceFailed with a plain text."""
        try:
            yield
        except expected:
            raise
        except ExecutionsError as error:
            raise self._failure(call, error) from None
        except ValueError:  # a page was not JSON
            raise self._not_the_service() from None
        self._has_answered = True

    def _failure(self, call: str, error: ExecutionsError) -> ServiceFailed:
        if isinstance(error, ConnectionFailed):
            if self._has_answered:
                return ServiceAway(str(error))
            return ServiceFailed(reason(error, self._client))
        if isinstance(error, ApiError) and passing(error):
            return ServiceAway(f"{self.url} answers {error.status}")
        if isinstance(error, ApiError) and error.status != 401:
            return ServiceFailed(
                f"{self.url}: {call}: {error.status} {problem_text(error.problem)}"
            )
        return ServiceFailed(reason(error, self._client))

    def _not_the_service(self) -> ServiceFailed:
        return ServiceFailed(f"{self.url} is something else: is --url right?")


def _id(reference: Any) -> Any:
    return reference.get("$id") if isinstance(reference, dict) else reference


def problem_text(problem: Mapping[str, Any]) -> str:
    """The text of a problem document, on one line."""
    errors = "; ".join(f"{e.get('path')}: {e.get('message')}" for e in problem.get("errors", []))
    text = problem.get("detail") or problem.get("title") or problem_code(problem)
    return f"{text}{f' ({errors})' if errors else ''}"


def problem_code(problem: Mapping[str, Any]) -> str:
    return str(problem.get("type", "")).rpartition("/")[2]
