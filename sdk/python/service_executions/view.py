"""The members of an execution, as of its last document."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from service_executions.errors import NotLoaded
from service_executions.models import (
    ExecutionAssignee,
    ExecutionAttempt,
    ExecutionCheckpoint,
    ExecutionClaim,
    ExecutionError,
    ExecutionMetadata,
    ExecutionMetrics,
    ExecutionResult,
    ExecutionStep,
    ExecutionWebhook,
    Priority,
    ServiceExecution,
    Status,
)


class View:
    """An execution: its id, and its document after that was read. Commands refresh the document."""

    def __init__(self, id: str, document: ServiceExecution | None = None) -> None:
        self.id = id
        self._document = document

    def __repr__(self) -> str:
        known = self._document
        shown = f"{known.status}, version {known.version}" if known else "not read"
        return f"<{type(self).__name__} {self.id}: {shown}>"

    @property
    def document(self) -> ServiceExecution:
        """The whole document, which has more members than the properties of this class.

        Raises:
            NotLoaded: the document was not read yet.
        """
        if self._document is None:
            raise NotLoaded(f"{self.id} was not read yet: call refresh() first")
        return self._document

    def _move(self, answer: bytes) -> None:
        """Take over status and version from a minimal answer, if the document was read before."""
        if self._document is not None:
            now = json.loads(answer)
            changed = {"status": now["status"], "version": now["version"]}
            self._document = self._document.model_copy(update=changed)

    @property
    def status(self) -> Status:
        """`queued`, `starting`, `running`, `paused`, `completed`, `failed`, `cancelled` or `retry`."""
        return self.document.status

    @property
    def is_ended(self) -> bool:
        """Whether the execution was completed, has failed for good, or was cancelled."""
        return self.status in {"completed", "failed", "cancelled"}

    @property
    def progress(self) -> float:
        """The progress, from 0 to 100."""
        return self.document.progress

    @property
    def order(self) -> str:
        """The id of the order."""
        return _id(self.document.order)

    @property
    def service(self) -> str:
        """The id of the service."""
        return _id(self.document.service)

    @property
    def workflow(self) -> str | None:
        """The id of the workflow, where the service has one."""
        return None if self.document.workflow is None else _id(self.document.workflow)

    @property
    def customer(self) -> str:
        """The id of the customer."""
        return _id(self.document.customer)

    @property
    def provider(self) -> str:
        """The id of the provider."""
        return _id(self.document.provider)

    @property
    def assignee(self) -> ExecutionAssignee | None:
        """Who or what does the work."""
        return self.document.assignee

    @property
    def result(self) -> ExecutionResult | None:
        """The result, after the execution was completed."""
        return self.document.result

    @property
    def error(self) -> ExecutionError | None:
        """The last error."""
        return self.document.error

    @property
    def steps(self) -> list[ExecutionStep]:
        """The steps, in the order of their declaration."""
        return self.document.steps

    @property
    def checkpoints(self) -> list[ExecutionCheckpoint]:
        """The latest ten checkpoints."""
        return self.document.checkpoints

    @property
    def attempts(self) -> list[ExecutionAttempt]:
        """The attempts, one for each try."""
        return self.document.attempts

    @property
    def next_retry_at(self) -> datetime | None:
        """The time of the next attempt, while the status is `retry`."""
        return self.document.next_retry_at

    @property
    def claimed_by(self) -> ExecutionClaim | None:
        """The worker that has claimed the execution, and its lease."""
        return self.document.claimed_by

    @property
    def metrics(self) -> ExecutionMetrics:
        """The durations and the usage."""
        return self.document.metrics

    @property
    def priority(self) -> Priority:
        """`low`, `normal`, `high` or `urgent`."""
        return self.document.priority

    @property
    def timeout(self) -> int | None:
        """The milliseconds that one attempt may take; None for no limit."""
        return self.document.timeout

    @property
    def webhooks(self) -> list[ExecutionWebhook]:
        """The webhooks. A secret is shown only in the answer to the command that creates it."""
        return self.document.webhooks

    @property
    def tags(self) -> list[str]:
        """The tags."""
        return self.document.tags

    @property
    def metadata(self) -> ExecutionMetadata:
        """The times, and the attributes that clients have set."""
        return self.document.metadata

    @property
    def version(self) -> int:
        """The version: the place of the last event in the history of the execution."""
        return self.document.version

    @property
    def position(self) -> int:
        """The position: the place of the last event in the whole log."""
        return self.document.position


def _id(reference: Any) -> str:
    """Return the id of a reference, which is an object if the client had it expanded."""
    return reference if isinstance(reference, str) else str(reference["$id"])
