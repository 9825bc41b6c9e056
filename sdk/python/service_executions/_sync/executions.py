"""Made by scripts/sdk of the file of this name in `_async`: do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Unpack

from pydantic_core import from_json

from service_executions._sync.commands import create
from service_executions._sync.execution import Execution
from service_executions._sync.queries import Query
from service_executions._sync.reads import Start
from service_executions._sync.streams import Lost, Stream, Streams
from service_executions._sync.transport import Transport
from service_executions.creation import NewExecution, creation, reference
from service_executions.cursors import Cursor, to_cursor
from service_executions.entries import Job, Preview
from service_executions.frames import Frame
from service_executions.ids import new_id
from service_executions.models import ServiceExecution
from service_executions.requests import option_headers, post, read, segment
from service_executions.values import body, wire
from service_executions.view import View

MARGIN = 10.0
"Seconds that the answer to a claim may take longer than its `wait`."


class Executions:
    """The executions that the token may see."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, *, order: Any, service: Any, id: str | None = None, **members: Unpack[NewExecution]
    ) -> Execution:
        """Create an execution of an ordered service: `queued`, or with `status="running"` started at once.

        `order` and `service` are ids or entries of the catalog. Without an `id`, a new one is made.

        Raises:
            AlreadyExists: the id is taken.
            UnknownReference: there is no such order or service.
        """
        chosen = id or new_id("exec")
        content = creation(chosen, order, service, members)
        request = post("/executions", content, option_headers(members))
        where = f"/executions/{segment(chosen)}"
        return self._execution(create(self._transport, request, where).content)

    def get(
        self,
        id: str,
        *,
        version: int | None = None,
        at: datetime | None = None,
        expand: Sequence[str] | None = None,
    ) -> Execution:
        """Return an execution as it is now, or as it was at a version or a time.

        Raises:
            NotFound: there is no such execution, version or past state.
        """
        query = {"version": version, "at": at, "expand": expand and list(expand)}
        answer = self._transport.send(read(f"/executions/{segment(id)}", query))
        return self._execution(answer.content)

    def __getitem__(self, id: str) -> Execution:
        """Return a handle of an execution without reading it. A command, or `refresh()`, reads the document."""
        return Execution(self._transport, id)

    def list(self, filter: Mapping[str, Any] | None = None, **fields: Any) -> Query[Execution]:
        """Return all executions, or those with these fields: `list(status="running", service="sdr")`."""
        return self.find({**(filter or {}), **fields})

    def find(
        self,
        query: Mapping[str, Any] | None = None,
        *,
        sort: str | None = None,
        limit: int | None = None,
        at: datetime | None = None,
        expand: Sequence[str] | None = None,
    ) -> Query[Execution]:
        """Return the executions that meet a filter, such as `{"status": "failed", "metadata.createdAt": {"$gte": …}}`.

        `sort` is a text such as `-metadata.createdAt`, `limit` the size of a page. `at` gives the list as it was at a time.
        """
        options = {"sort": sort, "limit": limit, "at": at, "expand": expand}
        request = post("/executions/find", {"filter": wire(dict(query or {}))})
        return Query(self._transport, request.following(options), self._from_list)

    def watch(
        self,
        execution: str | View | None = None,
        types: str | Sequence[str] | None = None,
        *,
        start: Start | None = None,
        cursor: Cursor | str | None = None,
        on_lost: Lost | None = None,
        **filters: Any,
    ) -> Stream[Frame]:
        """Return a stream of what happens to one execution until it has ended, or to all that meet the filters, from now on.

        `start` is `"start"`, `"now"`, a position or a time. `cursor`, a path or an object, stores how far a stream of all
        executions was read. Filters are `service`, `order`, `customer`, `provider`, `tag` and `status`.
        """
        streams = Streams(self._transport)
        query = {"types": types, "from": start, **filters}
        if execution is None:
            return streams.watch_all(query, to_cursor(cursor), on_lost)
        if filters or cursor is not None:
            raise TypeError("the stream of one execution has neither filters nor a cursor")
        watched = execution if isinstance(execution, str) else execution.id
        return streams.watch(watched, query, on_lost)

    def claim(
        self,
        worker: str,
        *,
        service: Any = None,
        assignee: str | None = None,
        lease: int | timedelta | None = None,
        wait: float = 0,
    ) -> Execution | None:
        """Claim the queued execution with the highest priority for a worker; return None if there is none.

        `wait` is the number of seconds that the service waits for an execution, at most 60.
        """
        members = body(
            worker=worker,
            service=None if service is None else reference(service),
            assignee=assignee,
            lease=lease,
            wait=wait,
        )
        headers = {"Idempotency-Key": new_id("key"), "X-Worker": worker}
        request = post("/executions/claim", members, headers)
        answer = self._transport.send(request.lasting(wait + MARGIN))
        return None if answer.status_code == 204 else self._execution(answer.content)

    def bulk(self, command: str, filter: Mapping[str, Any], *, reason: str | None = None) -> Job:
        """Send a command to all executions that meet a filter; return the job that does it."""
        members = {**body(command=command, reason=reason), "filter": wire(dict(filter))}
        headers = {"Idempotency-Key": new_id("key")}
        answer = self._transport.send(post("/executions/bulk", members, headers))
        return Job.model_validate_json(answer.content)

    def preview(self, command: str, filter: Mapping[str, Any]) -> Preview:
        """Return the numbers of executions that `bulk` would change and refuse."""
        members = {"command": command, "filter": wire(dict(filter)), "preview": True}
        answer = self._transport.send(post("/executions/bulk", members).following())
        return Preview.model_validate(from_json(answer.content))

    def _execution(self, content: bytes) -> Execution:
        document = ServiceExecution.model_validate_json(content)
        return Execution(self._transport, document.id, document)

    def _from_list(self, item: Any) -> Execution:
        document = ServiceExecution.model_validate(item)
        return Execution(self._transport, document.id, document)
