"""The running service as an import sees it: a few calls, patient with restarts."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import orjson

from api.client.address import Address, unknown, unreached

JSON = dict[str, Any]

TIMEOUT = 120.0
"""Seconds that one call may wait in all for a service that went away or is busy."""
FIRST_TIMEOUT = 3.0
"""The same for a service that has not answered yet: perhaps nothing runs there."""
LONGEST_WAIT = 15.0
AWAY = frozenset({429, 502, 503, 504})
FIND = "/executions/find?limit=500&fields=$id,order,status,version"


class ServiceFailed(Exception):
    """The service cannot be reached, or refused a whole call."""


class ServiceAway(ServiceFailed):
    """It answered before: the same call may succeed once it is back."""


class Service:
    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/api")
        self._token = token
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._patience = FIRST_TIMEOUT
        self._client = httpx.Client(
            base_url=f"{self.url}/api",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(60.0, connect=5.0),
            transport=transport,
        )

    def close(self) -> None:
        """End it; calls that wait for the service in other threads give up at once."""
        self._closed.set()
        self._client.close()

    def ensure(self, path: str, resource: JSON, *, agree: Iterable[str] = ()) -> None:
        """Create a resource. One that is there already must have the same values in `agree`."""
        answer = self._call("POST", path, resource)
        if answer.status_code != 409:
            self._accept(answer)
            return
        there = self._object(self._call("GET", f"{path}/{resource['$id']}"))
        for key in agree:
            if _id(there.get(key)) != resource[key]:
                raise ServiceFailed(
                    f"{path}/{resource['$id']} exists with {key} {_id(there.get(key))!r}, "
                    f"the mapping says {resource[key]!r}"
                )

    def find(self, executions: list[str]) -> dict[str, JSON]:
        """Those of at most 500 executions that exist (as fresh as the list view), by id.

        Where a busy service takes too long to find them, they are asked for in halves.
        """
        answer = self._call("POST", FIND, {"$id": {"$in": executions}})
        if _too_expensive(answer) and len(executions) > 1:
            half = len(executions) // 2
            return self.find(executions[:half]) | self.find(executions[half:])
        return {row["$id"]: row for row in self._object(answer)["data"]}

    def execution(self, execution: str) -> JSON | None:
        """The execution as it is now."""
        answer = self._call("GET", f"/executions/{execution}")
        return None if answer.status_code == 404 else self._object(answer)

    def history(self, execution: str) -> list[JSON]:
        """All its events, oldest first."""
        events: list[JSON] = []
        query = {"order": "asc", "limit": "500"}
        while True:
            page = self._object(self._call("GET", f"/executions/{execution}/events", query=query))
            events += page["data"]
            if not page.get("hasMore"):
                return events
            query["cursor"] = page["nextCursor"]

    def send(self, commands: list[bytes]) -> list[JSON]:
        """Encoded commands, at most 1000; one answer for each, in order."""
        answer = self._accept(self._call("POST", "/commands", b"[" + b",".join(commands) + b"]"))
        answers: list[JSON] = self._decoded(answer)
        if len(answers) != len(commands):
            raise ServiceFailed(f"{len(commands)} commands were answered by {len(answers)} answers")
        return answers

    def pause(self, attempt: int) -> None:
        self._sleep(min(0.1 * 2.0**attempt, LONGEST_WAIT))

    def _object(self, answer: httpx.Response) -> JSON:
        body: JSON = self._decoded(self._accept(answer))
        return body

    def _decoded(self, answer: httpx.Response) -> Any:
        try:
            return orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            raise ServiceFailed(f"{self.url} is something else: is --url right?") from None

    def _call(
        self, method: str, path: str, body: JSON | bytes | None = None, query: JSON | None = None
    ) -> httpx.Response:
        content = orjson.dumps(body) if isinstance(body, dict) else body
        headers = {"Content-Type": "application/json"} if content else {}
        waited, wait = 0.0, 0.25
        while True:
            try:
                answer = self._client.request(
                    method, path, content=content, headers=headers, params=query
                )
            except httpx.TransportError as error:
                trouble, asked = self._unreached(error), 0.0
            else:
                self._patience = TIMEOUT
                if answer.status_code not in AWAY:
                    return answer
                trouble = ServiceAway(f"{self.url} answers {answer.status_code}")
                asked = _retry_after(answer)
            pause = max(asked, wait)
            if self._closed.is_set() or waited + pause > self._patience:
                raise trouble
            self._sleep(pause)
            waited, wait = waited + pause, min(wait * 2, LONGEST_WAIT)

    def _unreached(self, error: Exception) -> ServiceFailed:
        reason = str(error) or type(error).__name__
        if self._patience == TIMEOUT:
            return ServiceAway(f"{self.url} cannot be reached any more ({reason})")
        return ServiceFailed(unreached(self.url, reason))

    def _accept(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        if answer.status_code == 401:
            raise ServiceFailed(unknown(Address(self.url, self._token)))
        path = answer.request.url.path
        raise ServiceFailed(f"{self.url}: {answer.request.method} {path}: {_detail(answer)}")


def _id(reference: Any) -> Any:
    return reference.get("$id") if isinstance(reference, dict) else reference


def _retry_after(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "0")
    return min(float(text), LONGEST_WAIT) if text.isdigit() else 0.0


def _detail(answer: httpx.Response) -> str:
    try:
        problem = orjson.loads(answer.content)
        return problem_text(problem)
    except (orjson.JSONDecodeError, AttributeError):
        return f"status {answer.status_code}"


def _too_expensive(answer: httpx.Response) -> bool:
    return (
        answer.status_code == 422 and problem_code(orjson.loads(answer.content)) == "too-expensive"
    )


def problem_text(problem: JSON) -> str:
    """One line of a problem+json answer."""
    errors = "; ".join(f"{e.get('path')}: {e.get('message')}" for e in problem.get("errors", []))
    said = problem.get("detail") or problem.get("title") or problem_code(problem)
    return f"{problem.get('status')} {said}{f' ({errors})' if errors else ''}"


def problem_code(problem: JSON) -> str:
    return str(problem.get("type", "")).rpartition("/")[2]
